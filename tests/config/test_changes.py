"""What a change of the configuration means, before it is made and when it is."""

import pytest

from config.changes import differences, in_force
from config.conditions import OneOf, When
from config.conditions import Test as Condition
from config.problems import ConfigError
from config.settings import (
    AgentSettings,
    DestinationSettings,
    DeviceSettings,
    Hl7Settings,
    ListenerSettings,
    LogSettings,
    PeersSettings,
    ReadingSettings,
    RuleSettings,
    Secret,
    SenderSettings,
    Settings,
    StorageSettings,
    WorkerSettings,
)


def a_destination(name: str = "archive", **values: object) -> DestinationSettings:
    return DestinationSettings(**{"name": name, "ae_title": "A", "host": "10.1.2.3", "port": 104} | values)


def with_peers(*destinations: DestinationSettings, **values: object) -> Settings:
    return Settings(peers=PeersSettings(destinations=destinations, **values))


def with_agent(**tables: object) -> Settings:
    return Settings(agent=AgentSettings(**tables))


def test_nothing_differs_between_the_same_settings():
    assert differences(with_peers(a_destination()), with_peers(a_destination())) == ()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            with_peers(a_destination()),
            with_peers(a_destination(port=11112)),
            ['peers.toml destination "archive" port: 104 → 11112'],
        ),
        (
            with_peers(a_destination("a"), a_destination("b")),
            with_peers(a_destination("b"), a_destination("c")),
            ['peers.toml destination "a": taken away', 'peers.toml destination "c": added'],
        ),
        (
            with_peers(a_destination("a"), a_destination("b")),
            with_peers(a_destination("b"), a_destination("a")),
            ['peers.toml destination: in another order, "b", "a"'],
        ),
        (
            with_agent(),
            with_agent(hl7=Hl7Settings()),
            ["agent.toml hl7: nothing → a table"],
        ),
        (
            with_agent(storage=StorageSettings(database_password=Secret(env="OLD"))),
            with_agent(storage=StorageSettings(database_password=Secret(env="NEW"))),
            ['agent.toml storage database_password: { env = "OLD" } → { env = "NEW" }'],
        ),
        (
            with_peers(),
            with_peers(senders=(SenderSettings(ae_title="X"),)),
            ['peers.toml accept_any_sender: true → false', 'peers.toml sender "X": added'],
        ),
    ],
)  # fmt: skip
def test_a_difference_is_told_in_words(old, new, words):
    assert list(differences(old, new)) == words


def test_lists_are_shown_whole():
    reading = ReadingSettings()
    study = reading.study.model_copy(update={"complete_when_views": ("frontal",)})
    new = Settings(reading=reading.model_copy(update={"study": study}))

    assert differences(Settings(), new) == (
        'reading.toml study complete_when_views: ["frontal", "lateral"] → ["frontal"]',
    )


def test_the_conditions_of_a_rule_are_told_as_one():
    def with_rule(view: str) -> Settings:
        when = When(any=(When((Condition("view", "text", OneOf((view,))),)),))
        return Settings(reading=ReadingSettings(rules=(RuleSettings(name="a", when=when),)))

    assert differences(with_rule("PA"), with_rule("AP")) == (
        'reading.toml rule "a" when: { any = [{ view = "PA" }] } → { any = [{ view = "AP" }] }',
    )


def test_other_ae_titles_of_ours_wait_for_a_restart():
    new = with_agent(device=DeviceSettings(also_called=("TRIAL",)))

    assert in_force(Settings(), new) == Settings()


def test_peers_reading_patience_and_log_level_are_taken_while_running():
    new = Settings(
        agent=AgentSettings(worker=WorkerSettings(attempts_max=5), log=LogSettings(level="debug")),
        peers=PeersSettings(destinations=(a_destination(),)),
        reading=ReadingSettings.model_validate({"study": {"settle_seconds": 5.0}}),
    )

    assert in_force(Settings(), new) == new


def test_ports_storage_and_the_place_of_the_log_wait_for_a_restart(tmp_path):
    new = with_agent(
        listener=ListenerSettings(port=104),
        storage=StorageSettings(folder=tmp_path),
        worker=WorkerSettings(tick_seconds=1.0),
        log=LogSettings(format="json"),
    )

    assert new.digest != Settings().digest
    held = in_force(Settings(), new)

    assert (held, held.digest) == (Settings(), Settings().digest)
    assert [words.split(":")[0] for words in differences(held, new)] == [
        "agent.toml listener port",
        "agent.toml storage folder",
        "agent.toml worker tick_seconds",
        "agent.toml log format",
    ]


def test_a_port_that_stays_open_to_the_network_is_not_left_to_anybody():
    running = Settings(
        agent=AgentSettings(listener=ListenerSettings(host="0.0.0.0")),
        peers=PeersSettings(senders=(SenderSettings(ae_title="XRAY1"),)),
    )

    with pytest.raises(ConfigError, match=r"at least one \[\[sender\]\]"):
        in_force(running, Settings())
