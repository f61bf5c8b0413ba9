"""`preread check` greets everybody that peers.toml names."""

from agent.checking import check
from config.settings import EngineSettings, PeersSettings, ReadingSettings, Settings, WorklistSettings
from tests.agent.archives import a_free_port
from tests.agent.query_archives import a_query_archive, archive_settings


def test_the_second_model_is_opened_too_and_each_said_by_name():
    here, gone = (EngineSettings(name=f"tests.scripted_engine:{name}") for name in ("open_scripted", "gone"))

    lines = check(Settings(reading=ReadingSettings(engine=here, second_engine=gone)), open_model=True)

    opened = {
        line.text.partition(":")[0]: line.ok for line in lines if "model" in line.text.partition(":")[0]
    }
    assert opened == {"model": True, "second model": False}


def test_archives_and_worklists_are_greeted_like_destinations():
    with a_query_archive() as there:
        worklist = WorklistSettings(name="ris", ae_title="RIS", host="127.0.0.1", port=there.port)
        archives = (archive_settings(there.port), archive_settings(a_free_port(), name="gone"))
        peers = PeersSettings(archives=archives, worklists=(worklist,))
        lines = check(Settings(peers=peers), open_model=False)

    greeted = [
        (line.ok, line.text.partition(":")[0]) for line in lines if line.text.startswith(("archive", "work"))
    ]
    assert greeted == [(True, 'archive "arch"'), (False, 'archive "gone"'), (True, 'worklist "ris"')]
