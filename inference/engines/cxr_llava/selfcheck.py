"""What can be said of a CXR-LLaVA's folder without reading a case with it."""

from inference.engines.cxr_llava import loading
from inference.engines.cxr_llava.model import CXRLLaVAConfig
from inference.engines.cxr_llava.tasks import TASKS
from inference.engines.cxr_llava.tokens import open_vocabulary
from inference.engines.selfcheck import Network

checks = Network(
    name="CXR-LLaVA",
    published=CXRLLaVAConfig(),
    tasks=TASKS,
    config_of=loading.config_of,
    places=lambda config: config.patch_count,
    published_names=loading.published_names,
    accounted=loading.accounted,
    load_sources=loading.load_sources,
    text_shape=loading.text_shape,
    open_vocabulary=open_vocabulary,
).checks
