"""Rules in reading.toml: what does not go together is told, and what is written is read again."""

from pathlib import Path

import pytest

from agent.dicom.attributes import vr_by_keyword
from config.loading import ConfigError, effective, load

RULES = """\
[[adapter]]
name = "bedside"
folder = "adapters/bedside"

[[rule]]
name = "bedside at night"
when = { StationName = { matches = "ICU*" }, time_of_day = { from = "22:00", to = "06:00" } }
priority = "stat"
adapter = "bedside"
priors.count_max = 1

[[rule]]
name = "children"
read = false
[rule.when]
patient_age_years = { to = 15 }
[[rule.when.any]]
Modality = "DX"
[[rule.when.any]]
ProcedureCodeSequence.CodeValue = "36643-5"
"""


def problems(folder: Path, **files: str) -> list[str]:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    try:
        load(folder, dictionary=vr_by_keyword)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_a_mistake_inside_a_condition_is_told_with_its_file_and_key(tmp_path: Path):
    rules = '[[rule]]\nname = "a"\nwhen = { any = [{ Modalty = "DX" }, { KVP = "high" }] }\n'

    first, second = problems(tmp_path, reading=rules)

    assert first.startswith("reading.toml:3: rule[1].when.any[1].Modalty: expected a DICOM keyword, or ")
    assert first.endswith("; did you mean Modality?")
    assert second.startswith('reading.toml:3: rule[1].when.any[2].KVP = "high": expected a number')


def test_mistakes_in_conditions_are_told_beside_all_others(tmp_path: Path):
    found = problems(
        tmp_path, agent="[listener]\nport = 0\n", reading='[[rule]]\nwhen = { X = 1 }\npriority = "soon"\n'
    )

    assert [problem.partition(" = ")[0].partition(": expected")[0] for problem in found] == [
        "agent.toml:2: listener.port",
        "reading.toml:1: rule[1].name",
        "reading.toml:2: rule[1].when.X",
        "reading.toml:3: rule[1].priority",
    ]


def test_a_rule_names_destinations_and_adapters_that_are_there(tmp_path: Path):
    rules = '[[rule]]\nname = "a"\ndestinations = ["p"]\nadapter = "bedside"\n'

    assert problems(tmp_path, reading=rules) == [
        'reading.toml:4: rule[1].adapter = "bedside": expected the name of an [[adapter]]; there are none',
        'reading.toml:3: rule[1].destinations = "p": expected a destination or receiver of peers.toml; there are none',
    ]


def test_a_rule_that_can_never_decide_is_a_mistake(tmp_path: Path):
    rules = '[[rule]]\nname = "all"\n[[rule]]\nname = "late"\nwhen = { view = "PA" }\n'

    assert problems(tmp_path, reading=rules) == [
        'reading.toml:4: rule[2].name = "late": expected a place before rule "all", which fits every study'
    ]


def two_rules(first: str, later: str) -> str:
    return f'[[rule]]\nname = "first"\nwhen = {first}\n[[rule]]\nname = "later"\nwhen = {later}\n'


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ('{ view = "PA" }', '{ view = "pa" }'),
        ('{ Modality = "DX" }', '{ Modality = "DX", StationName = "ICU 1" }'),
        ('{ Modality = ["CR", "DX"] }', '{ Modality = "DX", view = "AP" }'),
        ('{ StationName = { matches = "icu*" } }', '{ StationName = ["ICU 1", "ICU 2"] }'),
        ("{ patient_age_years = { from = 18 } }", "{ patient_age_years = { from = 65, to = 90 } }"),
        ("{ KVP = { from = 60, to = 90 } }", "{ KVP = 70 }"),
        ("{ StationName = { present = true } }", '{ StationName = "ICU 1" }'),
        ('{ any = [{ view = "PA" }, { view = "AP" }] }', '{ view = "AP", Modality = "DX" }'),
        ('{ any = [{ view = "PA" }, { view = "AP" }] }', '{ any = [{ view = "AP" }, { view = "PA" }] }'),
        ('{ not = { view = "LATERAL" } }', '{ Modality = "DX", not = { view = "LATERAL" } }'),
        (
            '{ time_of_day = { from = "20:00", to = "07:00" } }',
            '{ view = "PA", time_of_day = { from = "20:00", to = "07:00" } }',
        ),
    ],
)
def test_a_rule_behind_one_that_fits_all_of_its_studies_is_a_mistake(tmp_path: Path, first: str, later: str):
    assert problems(tmp_path, reading=two_rules(first, later)) == [
        'reading.toml:5: rule[2].name = "later": expected a place before rule "first", '
        "which fits every study that this one fits"
    ]


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ('{ view = "PA" }', '{ view = ["PA", "AP"] }'),
        ('{ Modality = "DX", view = "AP" }', '{ Modality = "DX" }'),
        ("{ patient_age_years = { from = 18 } }", "{ patient_age_years = { to = 90 } }"),
        ("{ StationName = { present = false } }", '{ StationName = "ICU 1" }'),
        ('{ any = [{ view = "PA", Modality = "CR" }] }', '{ view = "PA" }'),
        ('{ all = [{ view = "PA" }] }', '{ not = { view = "PA" } }'),
        ('{ not = { view = "PA" } }', '{ view = "PA" }'),
        (
            '{ time_of_day = { from = "20:00", to = "07:00" } }',
            '{ time_of_day = { from = "08:00", to = "12:00" } }',
        ),
    ],
)
def test_a_rule_that_may_be_asked_is_none(tmp_path: Path, first: str, later: str):
    assert problems(tmp_path, reading=two_rules(first, later)) == []


def test_a_rule_for_an_ae_title_that_is_not_ours_is_a_mistake(tmp_path: Path):
    rules = '[[rule]]\nname = "a"\nwhen = { any = [{ called_ae_title = ["TRIAL", "preread"] }] }\n'
    trial = '[device]\nalso_called = ["TRIAL"]\n'

    (problem,) = problems(tmp_path, reading=rules)

    assert problem.startswith('reading.toml:3: rule[1].when = "TRIAL": expected an AE title of ours')
    assert problem.endswith("; there are PREREAD")
    assert problems(tmp_path, reading=rules, agent=trial) == []
    assert problems(tmp_path, reading=rules, agent="[listener]\ncheck_called_ae_title = false\n") == []


def test_a_rule_for_titles_like_none_of_ours_is_a_mistake(tmp_path: Path):
    rules = '[[rule]]\nname = "a"\nwhen = {{ called_ae_title = {{ matches = "{}" }} }}\n'

    (problem,) = problems(tmp_path, reading=rules.format("TRIAL*"))

    assert problem.startswith('reading.toml:3: rule[1].when = "TRIAL*": expected an AE title of ours')
    assert problems(tmp_path, reading=rules.format("pre*")) == []


@pytest.mark.parametrize("wanted", ['"XRAY9"', '["XRAY1", "XRAY9"]', '{ matches = "XRAY9" }'])
def test_a_rule_for_a_system_that_may_not_send_is_a_mistake(tmp_path: Path, wanted: str):
    rules = f'[[rule]]\nname = "a"\nwhen = {{ Modality = "DX", calling_ae_title = {wanted} }}\n'
    sender = '[[sender]]\nae_title = "XRAY1"\n'

    (problem,) = problems(tmp_path, reading=rules, peers=sender)

    expected = "expected the AE title of a [[sender]] of peers.toml; there are XRAY1"
    assert problem == f'reading.toml:3: rule[1].when = "XRAY9": {expected}'
    assert problems(tmp_path, reading=rules, peers=f"accept_any_sender = true\n{sender}") == []
    assert problems(tmp_path, reading=rules, peers="") == []


def test_a_rule_may_name_a_sender_in_any_case_of_letters_and_an_archive(tmp_path: Path):
    rules = '[[rule]]\nname = "a"\nwhen = { calling_ae_title = ["xray1", "ARCH"] }\n'
    peers = '[[sender]]\nae_title = "XRAY1"\n[[archive]]\nname = "arch"\nae_title = "ARCH"\nhost = "h"\n'

    assert problems(tmp_path, reading=rules, peers=peers) == []


def test_each_rule_has_a_name_of_its_own(tmp_path: Path):
    rule = '[[rule]]\nname = "a"\nwhen = {{ view = "{}" }}\n'

    assert problems(tmp_path, reading=rule.format("PA") + rule.format("AP")) == [
        'reading.toml:5: rule[2].name = "a": expected another name than that of rule[1]'
    ]


def test_the_effective_rules_are_rules_again(tmp_path: Path):
    assert problems(tmp_path, reading=RULES) == []
    first = load(tmp_path, dictionary=vr_by_keyword)

    (tmp_path / "reading.toml").write_text(effective(first).partition("# reading.toml\n")[2])

    second = load(tmp_path, dictionary=vr_by_keyword)
    assert second.reading == first.reading
    assert second.digest == first.digest


def test_another_condition_is_another_configuration(tmp_path: Path):
    assert problems(tmp_path, reading=RULES) == []
    first = load(tmp_path, dictionary=vr_by_keyword)

    assert problems(tmp_path, reading=RULES.replace("ICU*", "ER*")) == []

    assert load(tmp_path, dictionary=vr_by_keyword).digest != first.digest
