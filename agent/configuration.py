"""The configuration as the agent loads it: with the dictionary that DICOM keywords in rules are held against."""

from collections.abc import Mapping
from functools import partial

from config import loading

__all__ = ["load", "load_with_origins"]


def _vr_by_keyword() -> Mapping[str, str]:
    # Only where a rule names a keyword: pydicom takes its time to import.
    from agent.dicom.attributes import vr_by_keyword

    return vr_by_keyword()


load = partial(loading.load, dictionary=_vr_by_keyword)
"""`config.loading.load`."""

load_with_origins = partial(loading.load_with_origins, dictionary=_vr_by_keyword)
"""`config.loading.load_with_origins`."""
