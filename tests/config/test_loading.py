import os
import pwd
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from config.loading import ConfigError, effective, load
from config.out_of_reach import out_of_reach


def a_folder(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def problems(folder: Path, **files: str) -> list[str]:
    """What is told to who is going to open connections."""
    with pytest.raises(ConfigError) as refused:
        load(a_folder(folder, **files), look=out_of_reach)
    # Without their lines, which have promises of their own (test_positions.py).
    return [str(replace(problem, line=None)) for problem in refused.value.problems]


def test_without_a_folder_the_defaults_hold():
    assert load(None).folder is None


def test_a_file_that_is_not_there_leaves_its_defaults(tmp_path):
    settings = load(a_folder(tmp_path, agent="[listener]\nport = 104\n"))

    assert settings.agent.listener.port == 104
    assert settings.reading.study.settle_seconds == 60
    assert settings.folder == tmp_path


def test_a_value_out_of_range_is_told_with_file_key_value_and_range(tmp_path):
    assert problems(tmp_path, agent="[listener]\nport = 99999\n") == [
        "agent.toml: listener.port = 99999: expected a whole number from 1 to 65535"
    ]


def test_all_mistakes_of_all_files_are_told_at_once(tmp_path):
    told = problems(
        tmp_path,
        agent='[listener]\nport = "high"\nhots = "x"\n[worker]\nattempts_max = 0\n',
        peers='[[destination]]\nname = "a b"\nport = 104\n',
        reading='[study]\nsettle_seconds = "soon"\ncomplete_when_views = ["side"]\n',
    )

    assert [problem.split(" = ")[0].split(": expected")[0] for problem in told] == [
        "agent.toml: listener.port",
        "agent.toml: listener.hots",
        "agent.toml: worker.attempts_max",
        "peers.toml: destination[1].name",
        "reading.toml: study.settle_seconds",
        "reading.toml: study.complete_when_views[1]",
    ]


@pytest.mark.parametrize(
    ("file", "text", "meant"),
    [
        ("agent", "[listener]\nprot = 104\n", "listener.port"),
        ("agent", "port = 104\n", "listener.port"),
        ("agent", "[listner]\nport = 104\n", "listener"),
        ("agent", "settle_seconds = 5\n", "study.settle_seconds in reading.toml"),
        ("peers", '[[senders]]\nae_title = "A"\n', "sender"),
        (
            "peers",
            '[[destination]]\nname="a"\nae_title="A"\nhost="h"\nport=1\noutput=[]\n',
            "destination.outputs",
        ),
        ("reading", "[engine]\nmodel_foldr = 'x'\n", "engine.model_folder"),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(tmp_path, file, text, meant):
    (told,) = problems(tmp_path, **{file: text})

    assert told.endswith(f"expected a known key; did you mean {meant}?")


def test_a_key_like_no_other_is_refused_without_a_guess(tmp_path):
    assert problems(tmp_path, agent="qwertz = 1\n") == ["agent.toml: qwertz: expected a known key"]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("[listener\nport = 1\n", "agent.toml:1: expected valid TOML (expected ']' at the end of a table"),
        ("[listener]\nport = \n", "agent.toml:2: expected valid TOML (invalid value, column 8)"),
        (
            "[log]\nlevel = 'info'\n[log]\n",
            "agent.toml:3: expected valid TOML (cannot declare ('log',) twice",
        ),
        ('[log]\nlevel = "info', "agent.toml:2: expected valid TOML (unterminated string, end of file)"),
        ("a = " + "[" * 5000, "agent.toml: expected lists and tables that are not nested"),
        ("a = " + "9" * 5000, "agent.toml: expected numbers with fewer digits"),
        ("#" * 300_000, "agent.toml: expected a file of at most 262144 bytes"),
    ],
)
def test_a_file_that_is_no_toml_is_told_with_its_line(tmp_path, text, start):
    with pytest.raises(ConfigError) as refused:
        load(a_folder(tmp_path, agent=text))

    assert str(refused.value).startswith(start)


def test_a_file_that_is_not_utf8_is_told_with_its_line(tmp_path):
    (tmp_path / "agent.toml").write_bytes("[device]\ninstitution_name = 'Klinik für'\n".encode("latin-1"))

    with pytest.raises(ConfigError, match=r"agent\.toml:2: expected UTF-8 text"):
        load(tmp_path)


def test_the_byte_order_mark_of_a_windows_editor_does_no_harm(tmp_path):
    (tmp_path / "agent.toml").write_bytes(b"\xef\xbb\xbf[listener]\r\nport = 104\r\n")

    assert load(tmp_path).agent.listener.port == 104


def test_a_file_that_cannot_be_read_is_told_beside_the_mistakes_of_the_others(tmp_path):
    (tmp_path / "agent.toml").mkdir()

    told = problems(tmp_path, reading="[study]\nsettle_seconds = 0\n")

    assert told[0] == "agent.toml: expected a file that we can read (Is a directory)"
    assert told[1].startswith("reading.toml: study.settle_seconds = 0")


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match="expected a folder that we can read"):
        load(tmp_path / "nowhere")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Lets what root runs be of a user who may read nothing of root's."""
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_of_what_may_not_be_read_it_is_told_who_may_not():
    told = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "agent.toml").touch(mode=0o600)
        (folder / "closed").mkdir(mode=0o700)

        with as_nobody():
            for place in (folder, folder / "closed", folder / "closed" / "below"):
                with pytest.raises(ConfigError) as refused:
                    load(place)
                told.append(str(refused.value))

    denied = "we can read (Permission denied for user nobody)"
    assert told == [
        f"agent.toml: expected a file that {denied}",
        f"{folder / 'closed'}: expected a folder that {denied}",
        f"{folder / 'closed' / 'below'}: expected a folder that {denied}",
    ]


def test_a_misspelt_file_name_is_told_and_does_not_leave_the_defaults_in_force(tmp_path):
    told = problems(tmp_path, peer="x = 1\n")

    assert told == [
        f"{tmp_path}: expected a folder with at least one of agent.toml, peers.toml, reading.toml",
        "peer.toml: expected no other TOML file than agent.toml, peers.toml, reading.toml here",
    ]


def test_relative_paths_start_at_the_config_folder_written_or_not(tmp_path):
    text = '[engine]\nmodel_folder = "weights"\naccepted_licence = "CC-BY-NC-4.0"\n'

    settings = load(a_folder(tmp_path, reading=text))

    assert settings.reading.engine.model_folder == tmp_path / "weights"
    assert settings.agent.storage.folder == tmp_path / "preread-data"


def test_a_sender_list_is_wanted_as_soon_as_the_port_is_open_to_the_network(tmp_path):
    (told,) = problems(tmp_path, agent='[listener]\nhost = "0.0.0.0"\n')

    assert told == (
        "peers.toml: sender: expected at least one [[sender]], or accept_any_sender = true, "
        'since agent.toml opens the port to the network (listener.host = "0.0.0.0")'
    )


@pytest.mark.parametrize("peers", ['[[sender]]\nae_title = "XRAY1"\n', "accept_any_sender = true\n"])
def test_an_open_port_with_senders_or_the_admins_word_is_fine(tmp_path, peers):
    assert load(a_folder(tmp_path, agent='[listener]\nhost = "0.0.0.0"\n', peers=peers))


def test_an_agent_to_which_nobody_may_send_is_a_mistake(tmp_path):
    (told,) = problems(tmp_path, peers="accept_any_sender = false\n")

    assert told.startswith("peers.toml: sender: expected at least one [[sender]]")


def test_names_of_destinations_and_ae_titles_of_senders_are_given_once(tmp_path):
    destination = '[[destination]]\nname = "pacs"\nae_title = "P"\nhost = "h"\nport = 1\n'
    sender = '[[sender]]\nae_title = "XRAY1"\n'

    told = problems(tmp_path, peers=destination * 2 + sender * 2)

    assert told == [
        'peers.toml: sender[2].ae_title = "XRAY1": expected another ae_title than that of sender[1]',
        'peers.toml: destination[2].name = "pacs": expected another name than that of destination[1]',
    ]


def test_a_finding_is_calibrated_once(tmp_path):
    digest = f"sha256:{'0' * 64}"
    edema = (
        '[[calibration]]\nfinding = "edema"\nslope = 1\nintercept = 0\nfitted_on = "x"\n'
        f'weights_digest = "{digest}"\n'
    )

    told = problems(tmp_path, reading=edema * 2)

    assert told == [
        'reading.toml: calibration[2].finding = "edema": expected another finding than that of calibration[1]'
    ]


def test_a_destination_that_is_this_agent_is_a_loop(tmp_path):
    peers = '[[destination]]\nname = "me"\nae_title = "PREREAD"\nhost = "localhost"\nport = 11112\n'

    (told,) = problems(tmp_path, peers=peers)

    assert told.startswith("peers.toml: destination[1].port = 11112: expected another system")


@pytest.mark.parametrize("table", ["engine", "second_engine"])
def test_a_model_other_than_the_demo_needs_the_accepted_licence(tmp_path, table):
    (told,) = problems(tmp_path, reading=f'[{table}]\nmodel_folder = "weights"\n')

    assert told.startswith(
        f'reading.toml: {table}.accepted_licence = "": expected the licence of the weights'
    )


def test_the_second_engine_takes_the_first_one_s_place_without_its_adapters(tmp_path):
    reading = '[second_engine]\nname = "medgemma"\n[[adapter]]\nname = "bedside"\nfolder = "bedside"\n'

    settings = load(a_folder(tmp_path, reading=reading))

    second = settings.of_second_engine
    assert second is not None
    assert (second.reading.engine.name, second.reading.adapters) == ("medgemma", ())
    assert settings.reading.engine.name == "m4cxr"
    assert load(None, {}).of_second_engine is None


def test_files_that_tls_needs_are_looked_for(tmp_path):
    tls = '[listener.tls]\ncertificate_file = "a.pem"\nkey_file = "a.key"\n'
    (tmp_path / "a.pem").touch()

    told = problems(tmp_path, agent=tls)

    assert told == [
        'agent.toml: listener.tls.ca_file = "": expected the authorities of the client certificates, '
        "since require_client_certificate = true",
        f'agent.toml: listener.tls.key_file = "{tmp_path}/a.key": expected a file that we can read '
        "(No such file or directory)",
    ]


def test_a_private_key_that_everybody_can_read_is_refused(tmp_path):
    for name in ("a.pem", "a.key", "ca.pem"):
        (tmp_path / name).touch(0o644)
    files = 'certificate_file = "a.pem"\nkey_file = "a.key"\nca_file = "ca.pem"\n'

    (told,) = problems(tmp_path, agent=f"[listener.tls]\n{files}")

    assert told.startswith(f'agent.toml: listener.tls.key_file = "{tmp_path}/a.key": expected a private key')
    assert told.endswith(f"mode 0644; run: chmod o= {tmp_path}/a.key)")


def test_a_sender_s_certificate_is_looked_at_only_where_one_is_shown(tmp_path):
    (told,) = problems(tmp_path, peers='[[sender]]\nae_title = "A"\ncertificate_subject = "a.example"\n')

    assert told.startswith("peers.toml: sender[1].certificate_subject: expected listener.tls with ca_file")


def test_a_certificate_and_its_key_go_together(tmp_path):
    (tmp_path / "a.pem").touch()
    peers = '[[destination]]\nname = "p"\nae_title = "P"\nhost = "h"\nport = 1\n[destination.tls]\n'

    (told,) = problems(tmp_path, peers=peers + 'certificate_file = "a.pem"\n')

    assert (
        told
        == "peers.toml: destination[1].tls.key_file: expected a path: a certificate and its key go together"
    )


def test_retries_need_a_range_that_is_one(tmp_path):
    (told,) = problems(tmp_path, agent="[worker]\nretry_seconds_min = 9\nretry_seconds_max = 3\n")

    assert (
        told == "agent.toml: worker.retry_seconds_max = 3.0: expected at least worker.retry_seconds_min = 9.0"
    )


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("image_days = 800", "retention.prior_days = 730: expected at least retention.image_days = 800"),
        ("result_days = 2000", "retention.study_days = 1825: expected at least retention.result_days = 2000"),
        (
            "free_bytes_start = 1073741824",
            "retention.free_bytes_start = 1073741824: expected more than listener.free_bytes_min = 1073741824, or 0",
        ),
        (
            "free_bytes_stop = 5368709120",
            "retention.free_bytes_stop = 5368709120: expected more than retention.free_bytes_start = 5368709120",
        ),
    ],
)
def test_what_is_kept_longer_is_kept_longer(tmp_path, table: str, told: str):
    assert problems(tmp_path, agent=f"[retention]\n{table}\n") == [f"agent.toml: {told}"]


def test_no_room_need_be_made(tmp_path):
    load(a_folder(tmp_path, agent="[retention]\nfree_bytes_start = 0\n"))


def test_an_audit_server_needs_files_that_are_there_and_a_key_for_a_certificate(tmp_path):
    syslog = '[audit.syslog]\nhost = "audit"\nca_file = "no.pem"\n'
    certificate = 'certificate_file = "no.pem"\n'

    told = problems(tmp_path, agent=syslog + certificate)

    keys = [one.split(" = ")[0].split(": ")[1].removesuffix(" is missing") for one in told]
    assert [key.split(":")[0] for key in keys] == [
        f"audit.syslog.{key}" for key in ("key_file", "ca_file", "certificate_file")
    ]


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ('[storage]\ndatabase_password = "hunter2"\n', "hunter2"),
        ('[storage]\ndatabse_password = "hunter2"\n', "hunter2"),
        ('[storage]\ndatabase_url = "postgresql://u:hunter2@h/d"\n', "hunter2"),
        ('[storage]\ndatabase_url = "postgresql://u@h/d?password=hunter2"\n', "hunter2"),
        ('[storage]\ndatabase_url = "mysql://u:hunter2@h"\n', "hunter2"),
        ('[storage]\nfolder = ["postgresql://u:hunter2@h/d"]\n', "hunter2"),
        ('[storage.database_password]\nvalue = "hunter2"\n', "hunter2"),
        ('[listener]\nport = "hunter2-password=hunter2"\n', "=hunter2"),
    ],
)
def test_no_message_repeats_a_password_wherever_it_was_written(tmp_path, text, hidden):
    told = problems(tmp_path, agent=text)

    assert told
    assert hidden not in "\n".join(told)


@pytest.mark.parametrize(
    "line",
    [
        'authorization = "Bearer hunter2"',
        'authorisation = "Basic hunter2"',
        'url = "https://pacs/web?token=hunter2"',
        'url = "https://pacs/web?a=1&sig=hunter2#x"',
        'url = "https://pacs/web?hunter2"',
        'url = "pacs/web?token=hunter2"',
        'host = "Bearer hunter2"',
        'port = "Bearer hunter2"',
    ],
)
def test_no_message_repeats_the_token_of_a_web_service_wherever_it_was_written(tmp_path, line):
    table = '[[destination]]\nname = "web"\nprotocol = "dicomweb"\n'

    told = problems(tmp_path, peers=f"{table}{line}\n")

    assert told
    assert "hunter2" not in "\n".join(told)


def test_a_password_that_is_not_where_it_should_be_is_told_without_it(tmp_path):
    text = '[storage]\ndatabase_url = "postgresql://u@h/d"\ndatabase_password = { env = "PREREAD_NOT_SET" }\n'

    assert problems(tmp_path, agent=text) == [
        "agent.toml: storage.database_password: expected a password "
        "(environment variable PREREAD_NOT_SET is not set)"
    ]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (
            'host = "0.0.0.0"',
            "metrics.addresses = []: expected at least one address, since metrics.host "
            '= "0.0.0.0" opens the port to the network',
        ),
        ("port = 11112", "metrics.port = 11112: expected another port than listener.port"),
    ],
)
def test_the_metrics_port_is_one_of_its_own_and_not_open_to_everybody(tmp_path, table, told):
    assert problems(tmp_path, agent=f"[metrics]\n{table}\n") == [f"agent.toml: {told}"]


def test_the_effective_settings_are_a_config_again(tmp_path):
    first = load(
        a_folder(
            tmp_path,
            agent='[device]\ninstitution_name = "Klinik \\"Ä\\" 서울"\n[log]\nfile = "log/a.log"\n',
            peers='[[sender]]\nae_title = "X"\naddresses = ["10.0.0.0/8"]\n'
            '[[destination]]\nname = "p"\nae_title = "P"\nhost = "h"\nport = 1\n[destination.tls]\n'
            '[[destination]]\nname = "q"\nae_title = "Q"\nhost = "h"\nport = 2\n',
            reading="[study]\nsettle_seconds = 0.2\ncomplete_when_views = []\n",
        )
    )
    blocks = effective(first).split("# ")[1:]
    again = tmp_path / "again"
    again.mkdir()
    for block in blocks:
        name, _, text = block.partition("\n")
        (again / name).write_text(text, encoding="utf-8")

    second = load(again)

    assert (second.agent, second.peers, second.reading) == (first.agent, first.peers, first.reading)
    assert second.digest == first.digest


def test_the_effective_settings_show_where_the_password_is_and_never_the_password(tmp_path, monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "hunter2")
    text = '[storage]\ndatabase_url = "postgresql://u@h/d"\ndatabase_password = { env = "DB_PASSWORD" }\n'

    shown = effective(load(a_folder(tmp_path, agent=text)))

    assert 'database_password = { env = "DB_PASSWORD" }' in shown
    assert "hunter2" not in shown


def test_an_archive_says_where_it_is_in_the_way_that_it_is_asked(tmp_path):
    told = problems(
        tmp_path,
        peers='[[archive]]\nname = "pacs"\n[[archive]]\nname = "web"\nretrieve = "dicomweb"\n',
    )

    assert told == [
        'peers.toml: archive[1].ae_title = "": expected a value, since retrieve = "c-move"',
        'peers.toml: archive[1].host = "": expected a value, since retrieve = "c-move"',
        'peers.toml: archive[2].url = "": expected a value, since retrieve = "dicomweb"',
    ]


def test_a_destination_lacks_what_its_protocol_needs(tmp_path):
    told = problems(
        tmp_path,
        peers='[[destination]]\nname = "pacs"\n'
        '[[destination]]\nname = "web"\nprotocol = "dicomweb"\ncommitment = true\n',
    )

    assert told == [
        'peers.toml: destination[1].ae_title = "": expected a value, since protocol = "dicom"',
        'peers.toml: destination[1].host = "": expected a value, since protocol = "dicom"',
        'peers.toml: destination[2].url = "": expected a value, since protocol = "dicomweb"',
        "peers.toml: destination[2].commitment = true: expected false, since storage commitment is not part of "
        'protocol = "dicomweb"',
    ]


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        (
            '{ report_sr = "encapsulated_pdf", encapsulated_pdf = "report_sr" }',
            "an end: report_sr comes twice",
        ),
        ('{ report_sr = "segmentation" }', "since not every draft has a segmentation"),
    ],
)
def test_a_fallback_ends_and_ends_with_what_every_draft_has(tmp_path, fallback, expected):
    peers = f'[[destination]]\nname = "pacs"\nae_title = "PACS"\nhost = "pacs"\nfallback = {fallback}\n'

    told = problems(tmp_path, peers=peers)

    assert expected in told[0]


@pytest.mark.parametrize(
    "url", ["https://u:secret@pacs/web", "ftp://pacs", "pacs/web", "https://pacs/web?a=1"]
)
def test_the_address_of_a_web_service_is_a_plain_one(tmp_path, url):
    (told,) = problems(tmp_path, peers=f'[[archive]]\nname = "web"\nretrieve = "dicomweb"\nurl = "{url}"\n')

    assert told.startswith("peers.toml: archive[1].url")
    assert "secret" not in told


def test_a_wait_for_priors_that_would_fail_the_study_is_refused(tmp_path):
    told = problems(
        tmp_path,
        agent="[worker]\ngather_patience_seconds = 30.0\n",
        reading="[priors]\nwait_seconds = 30.0\n",
    )

    assert told == [
        "reading.toml: priors.wait_seconds = 30: expected less than "
        "worker.gather_patience_seconds = 30 of agent.toml"
    ]


def test_nobody_gets_the_findings_in_both_forms(tmp_path):
    both = '["findings_sr", "findings_sr_air"]'
    peers = f'[[destination]]\nname = "p"\nae_title = "P"\nhost = "h"\nport = 1\noutputs = {both}\n'

    in_peers, in_defaults = problems(tmp_path, peers=peers, reading=f"[outputs]\ndefaults = {both}\n")

    assert in_peers.startswith(f"peers.toml: destination[1].outputs = {both}: expected either findings_sr or")
    assert in_defaults.startswith(f"reading.toml: outputs.defaults = {both}: expected either findings_sr or")
