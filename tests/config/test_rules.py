"""Rules in reading.toml: what does not go together is told, and what is written is read again."""

from pathlib import Path

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


def test_a_rule_for_an_ae_title_that_is_not_ours_is_a_mistake(tmp_path: Path):
    rules = '[[rule]]\nname = "a"\nwhen = { any = [{ called_ae_title = ["TRIAL", "preread"] }] }\n'
    trial = '[device]\nalso_called = ["TRIAL"]\n'

    (problem,) = problems(tmp_path, reading=rules)

    assert problem.startswith('reading.toml:3: rule[1].when = "TRIAL": expected an AE title of ours')
    assert problem.endswith("; there are PREREAD")
    assert problems(tmp_path, reading=rules, agent=trial) == []
    assert problems(tmp_path, reading=rules, agent="[listener]\ncheck_called_ae_title = false\n") == []


def test_each_rule_has_a_name_of_its_own(tmp_path: Path):
    rule = '[[rule]]\nname = "a"\nwhen = { view = "PA" }\n'

    assert problems(tmp_path, reading=rule + rule) == [
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
