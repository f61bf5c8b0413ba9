"""What can be said of an M4CXR's folder without reading a case with it."""

from inference.engines.m4cxr import loading
from inference.engines.m4cxr.model import M4CXRConfig
from inference.engines.m4cxr.tasks import TASKS
from inference.engines.m4cxr.tokens import open_vocabulary
from inference.engines.selfcheck import Network

checks = Network(
    name="M4CXR",
    published=M4CXRConfig(),
    tasks=TASKS,
    config_of=loading.config_of,
    places=lambda config: config.query_count,
    published_names=loading.published_names,
    accounted=loading.accounted,
    load_sources=loading.load_sources,
    text_shape=loading.text_shape,
    open_vocabulary=open_vocabulary,
).checks
