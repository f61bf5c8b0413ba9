"""What a later Python has taken for itself, looked for with the Python at hand."""

import inspect
import re
import threading

import pytest

from agent.listener.server import ListenerAssociation
from agent.listener.short_path import ShortPathProvider
from agent.worker import Worker

OF_THREADS = {"_handle": "3.13", "_os_thread_handle": "3.13", "_context": "3.14"}
"""Attributes of threading.Thread, by the version that brought them."""


@pytest.mark.parametrize("thread", [Worker, ShortPathProvider, ListenerAssociation])
def test_a_thread_of_ours_has_no_attribute_that_threads_have(thread: type[threading.Thread]):
    own = set(re.findall(r"(?:self\.|def )(\w+)", inspect.getsource(thread)))

    assert own & OF_THREADS.keys() == set()
