"""Decides which rule of the site a study falls under, and says why it and not those before. Pure.

A condition holds if any value of its fact meets it: of any image, and of any of several values of one attribute.
So conditions of one rule may be met by different images, and `not` means that no image does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from config.conditions import Kind, Matches, OneOf, Present, Test, Value, When, Within
from config.rule_settings import RuleSettings
from storage.records import Priority

Facts = Mapping[str, tuple[Value, ...]]
"""By the names that conditions use; () or nothing = not sent, or not known."""

_RULES_TOLD_MAX = 20
_VALUES_SHOWN_MAX = 4
_CHARACTERS_SHOWN_MAX = 64

_TELLING_VRS = frozenset({"", "AE", "CS", "DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_TELLING_KEYWORDS = frozenset(
    {
        "AcquisitionDate",
        "AcquisitionTime",
        "BodyPartExamined",
        "CodeMeaning",
        "CodeValue",
        "CodingSchemeDesignator",
        "DetectorID",
        "DeviceSerialNumber",
        "InstitutionName",
        "InstitutionalDepartmentName",
        "Manufacturer",
        "ManufacturerModelName",
        "ProtocolName",
        "SOPClassUID",
        "SeriesDate",
        "StationName",
        "StudyDate",
        "StudyTime",
    }
)
"""Besides the VRs above, what names a device, a place or a procedure. The values of all other attributes stay out
of explanations: they may name a patient, or be a report's words."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The rule that a study falls under.

    Attributes:
        rule: None if none fits; then the study is read as the other tables of reading.toml say.
        because: which conditions decided, in words that name no patient.
        passed_over: (name, sentence) of each rule that was asked before.
    """

    rule: RuleSettings | None
    because: str
    passed_over: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Of the rule; "" if none fits."""
        return "" if self.rule is None else self.rule.name

    @property
    def priority(self) -> Priority:
        """How soon the study is read."""
        return Priority.ROUTINE if self.rule is None else Priority(self.rule.priority)

    def words(self) -> str:
        """The decision as a sentence."""
        before = "".join(f'; not "{name}": {reason}' for name, reason in self.passed_over[:_RULES_TOLD_MAX])
        untold = len(self.passed_over) - _RULES_TOLD_MAX
        more = f"; nor {untold} more" if untold > 0 else ""
        decided = "no rule fits" if self.rule is None else f'rule "{self.name}": {self.because}'
        return f"{decided}{before}{more}"


def decide(facts: Facts, rules: Sequence[RuleSettings]) -> Decision:
    """Finds the first rule that fits."""
    passed_over: list[tuple[str, str]] = []
    for rule in rules:
        fits, words = judge(rule.when, facts)
        because = "; ".join(words) or "it fits every study"
        if fits:
            return Decision(rule, because, tuple(passed_over))
        passed_over.append((rule.name, because))
    return Decision(None, "no rule fits", tuple(passed_over))


def judge(when: When, facts: Facts) -> tuple[bool, tuple[str, ...]]:
    """Says whether conditions hold, and what decided: all that hold, or the first that does not."""
    words: list[str] = []
    for holds, said in _parts(when, facts):
        if not holds:
            return False, said
        words += said
    return True, tuple(words)


def _parts(when: When, facts: Facts) -> Iterator[tuple[bool, tuple[str, ...]]]:
    for test in when.tests:
        yield _judge_test(test, facts.get(test.fact, ()))
    for group in when.all:
        yield judge(group, facts)
    if when.any:
        judged = [judge(group, facts) for group in when.any]
        none = (False, tuple(word for _, words in judged for word in words))
        yield next((one for one in judged if one[0]), none)
    if when.none is not None:
        holds, words = judge(when.none, facts)
        yield not holds, words


def _judge_test(test: Test, values: Sequence[Value]) -> tuple[bool, tuple[str, ...]]:
    holds = _meets(test, values)
    if not _is_telling(test):
        return holds, (f"{test.fact} is {'' if holds else 'not '}as the rule asks",)
    if isinstance(test.wanted, Present):
        return holds, (f"{test.fact} is {'' if values else 'not '}there",)
    if not values:
        return holds, (f"{test.fact} is not there",)
    shown = list(dict.fromkeys(_shown(value) for value in values))
    more = ", ..." if len(shown) > _VALUES_SHOWN_MAX else ""
    said = f"{test.fact} is {', '.join(shown[:_VALUES_SHOWN_MAX])}{more}"
    wish = _wish(test.wanted, holds=holds)
    return holds, (f"{said}, {wish}" if wish else said,)


def _shown(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)[:_CHARACTERS_SHOWN_MAX]


def _is_telling(test: Test) -> bool:
    return test.vr in _TELLING_VRS or test.fact.rpartition(".")[2] in _TELLING_KEYWORDS


def _wish(wanted: OneOf | Matches | Within, *, holds: bool) -> str:
    """The end of the explanation: what was asked for, as far as the value does not say it itself."""
    no = "" if holds else "not "
    match wanted:
        case OneOf((value,)):
            return "" if holds else f"not {value}"
        case OneOf(values):
            return "" if holds else f"not one of {', '.join(map(str, values))}"
        case Matches(pattern):
            return f"{no}matching {pattern}"
        case Within(None, most):
            return f"{no}up to {most}"
        case Within(least, None):
            return f"{no}from {least} on"
        case Within(least, most):
            return f"{no}from {least} to {most}"


def _meets(test: Test, values: Sequence[Value]) -> bool:
    wanted = test.wanted
    if isinstance(wanted, Present):
        return bool(values) is wanted.wanted
    comparable = [one for value in values if (one := _comparable(value, test.kind)) is not None]
    match wanted:
        case OneOf(several):
            return not {_comparable(one, test.kind) for one in several}.isdisjoint(comparable)
        case Matches():
            return any(wanted.fits(str(value)) for value in comparable)
        case Within(least, most):
            return any(_is_within(value, least, most) for value in comparable)


def _is_within(value: Value, least: Value | None, most: Value | None) -> bool:
    if isinstance(least, str) and isinstance(most, str) and least > most:
        return str(value) >= least or str(value) <= most
    # Both sides are of one kind, see _comparable and config.conditions.
    return (least is None or value >= least) and (most is None or value <= most)  # type: ignore[operator]


def _comparable(value: Value, kind: Kind) -> Value | None:
    """A value in the form that equal ones share; None if it is none of its kind."""
    text = str(value).strip()
    match kind:
        case "number":
            try:
                return float(text)
            except ValueError:
                return None
        case "date":
            return text[:8] if text[:8].isascii() and text[:8].isdigit() and len(text) >= 8 else None
        case "time":
            digits = text.replace(":", "")[:4]
            return (
                f"{digits[:2]}:{digits[2:]}"
                if digits.isascii() and digits.isdigit() and len(digits) == 4
                else None
            )
    return text.lower()


AGE_UNITS_IN_YEARS = MappingProxyType({"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0})


def age_in_years(patient_age: str, birth_date: str, study_date: str) -> float | None:
    """How old the patient was.

    Args:
        patient_age: as DICOM says it, "045Y" or "006M" (PS3.5 6.2, AS); "" if not sent.
        birth_date, study_date: "YYYYMMDD" as sent; used where there is no age.

    Returns:
        whole years by the dates, years with a fraction by an age in months, weeks or days; None if nobody says.
    """
    number, unit = patient_age[:-1], patient_age[-1:].upper()
    if number.isascii() and number.isdigit() and unit in AGE_UNITS_IN_YEARS:
        return round(int(number) * AGE_UNITS_IN_YEARS[unit], 2)
    born, made = _day(birth_date), _day(study_date)
    if born is None or made is None or made < born:
        return None
    return float(made.year - born.year - ((made.month, made.day) < (born.month, born.day)))


def _day(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None
