"""The configuration as the agent loads it: with the dictionary that DICOM keywords in rules are held against.

Who serves, and who checks for that, has TLS files and secrets looked at too. The reader opens no such connection and
may not be let near a key; who only looks (`preread status`) is to see what runs well on the files of before while a
certificate is being renewed.
"""

from collections.abc import Iterator, Mapping
from functools import partial

from config import loading
from config.contradictions import tls_tables
from config.out_of_reach import out_of_reach
from config.problems import Problem
from config.readable import Readable
from config.wording import quoted

__all__ = ["load", "load_to_serve", "load_with_origins"]


def _vr_by_keyword() -> Mapping[str, str]:
    # Only where a rule names a keyword: pydicom takes its time to import.
    from agent.dicom.attributes import vr_by_keyword

    return vr_by_keyword()


def _unusable(found: Readable) -> Iterator[Problem]:
    yield from out_of_reach(found)
    for file, place, tls in tls_tables(found):
        from agent.tls import unusable_files  # most configurations have none

        for key, expected in unusable_files(tls):
            yield Problem(file, f"{place}.{key}", quoted(str(getattr(tls, key))), expected)


load = partial(loading.load, dictionary=_vr_by_keyword)
"""`config.loading.load`."""

load_to_serve = partial(load, look=_unusable)
"""The same, and secrets, certificates, keys and authorities that no connection can be made with are mistakes too."""

load_with_origins = partial(loading.load_with_origins, dictionary=_vr_by_keyword)
"""`config.loading.load_with_origins`."""
