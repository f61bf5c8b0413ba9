"""The conditions of a rule: read from TOML once, held against what can be asked, kept as values that cannot change.

    { Modality = ["CR", "DX"], patient_age_years = { to = 15 }, not = { StationName = { matches = "ICU*" } } }

A fact is a DICOM keyword (of an attribute of the images) or one of FACTS. What a condition means is
said by `agent.rules`, which evaluates it.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import PlainSerializer, PlainValidator, ValidationInfo

from config.values import Expected
from config.wording import one_of, quoted, shown

Kind = Literal["text", "number", "date", "time", "sequence"]
Value = str | int | float

DEPTH_MAX = 8
VALUES_MAX = 200
TEXT_CHARACTERS_MAX = 256


@dataclass(frozen=True, slots=True)
class Fact:
    """What preread itself knows of a study.

    Attributes:
        words: the only values there are; () = any.
        meaning: for the documentation, a phrase.
    """

    kind: Kind
    meaning: str
    words: tuple[str, ...] = ()


FACTS: Mapping[str, Fact] = {
    "calling_ae_title": Fact("text", "the AE title that an image was sent by"),
    "called_ae_title": Fact("text", "the AE title of ours that an image was sent to"),
    "time_of_day": Fact("time", "when the newest image came, local time"),
    "study_age_days": Fact("number", "whole days from Study Date to the day when the newest image came"),
    "patient_age_years": Fact("number", "by Patient's Age, else from Patient's Birth Date to Study Date"),
    "view": Fact(
        "text",
        "of an image; frontal for PA and AP too",
        ("PA", "AP", "FRONTAL", "LATERAL", "UNKNOWN"),
    ),
    "image_count": Fact("number", "radiographs that have come of the study"),
    "order_priority": Fact(
        "text", "of the study's order, from the worklist or HL7", ("stat", "urgent", "routine")
    ),
}
"""Facts by name: those of the study have one value, those of its images one for each."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """Equal to one of these, whatever the case of letters and the spaces around."""

    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Matches:
    """As a pattern says: `*` any characters, `?` one, whatever the case of letters."""

    pattern: str

    def fits(self, text: str) -> bool:
        """Is a text, without spaces around it, as the pattern says?"""
        # A bracket is a bracket here. fnmatch keeps to the first way that each star matches, so no pattern takes
        # longer than the text is long for each star in it.
        return fnmatchcase(text.lower(), self.pattern.lower().replace("[", "[[]"))


@dataclass(frozen=True, slots=True)
class Within:
    """From one value to another, both included; None = no bound. A time of day may run over midnight."""

    least: Value | None
    most: Value | None


@dataclass(frozen=True, slots=True)
class Present:
    """Sent with a value, or (False) not."""

    wanted: bool


Wanted = OneOf | Matches | Within | Present


@dataclass(frozen=True, slots=True)
class Test:
    """What one fact must be.

    Attributes:
        fact: a key of FACTS or a DICOM keyword; "ProcedureCodeSequence.CodeValue" inside a sequence.
        vr: of the attribute (PS3.5 6.2), "" for a fact of ours.
    """

    fact: str
    kind: Kind
    wanted: Wanted
    vr: str = ""


@dataclass(frozen=True, slots=True)
class When:
    """Conditions that hold together; none of them holds always.

    Attributes:
        all, any: groups of which each, or at least one, holds; () asks nothing.
        none: conditions that do not hold together (`not` in the file).
    """

    tests: tuple[Test, ...] = ()
    all: tuple["When", ...] = ()
    any: tuple["When", ...] = ()
    none: "When | None" = None

    def every_test(self) -> Iterator[Test]:
        """Walks the tests of all groups."""
        yield from self.tests
        for group in (*self.all, *self.any, *((self.none,) if self.none else ())):
            yield from group.every_test()


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong inside conditions; as `config.problems.Problem`, the key from the conditions on."""

    key: str
    value: str
    expected: str


class Mistakes(ValueError):
    """Conditions that cannot be used, with every mistake in them."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("; ".join(f"{one.key}: {one.expected}" for one in mistakes))
        self.mistakes = mistakes


CONDITIONS_EXPECTED = Expected(
    'conditions such as { Modality = "DX", StationName = { matches = "ICU*" } }, see docs/rules.md'
)

_KIND_OF_VR: Mapping[str, Kind] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT"), "text"),
    **dict.fromkeys(("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"), "number"),
    **dict.fromkeys(("DA", "DT"), "date"),
    "TM": "time",
    "SQ": "sequence",
}
_FORMS: Mapping[Kind, str] = {
    "text": 'a text, a list of texts, { matches = "ICU*" } or { present = true }',
    "number": "a number, a list of numbers, { from = 1, to = 9 } or { present = true }",
    "date": 'a date "YYYYMMDD", a list of dates, { from = "20260101", to = "20261231" } or { present = true }',
    "time": '{ from = "22:00", to = "06:00" } or { present = true }',
    "sequence": 'attributes of its items, such as { CodeValue = "36643-5" }, or { present = true }',
}

Dictionary = Callable[[], Mapping[str, str]]
"""Gives the VR of every DICOM keyword; asked only if a rule names one."""


def read_conditions(value: object, dictionary: Dictionary | None) -> When:
    """Reads conditions as they stand in the file.

    Args:
        dictionary: None where there is none; then no DICOM keyword is known.

    Raises:
        Mistakes: with every mistake.
    """
    mistakes: list[Mistake] = []
    when = _when(value, "", dictionary or dict, mistakes, DEPTH_MAX)
    if mistakes:
        raise Mistakes(tuple(mistakes))
    return when


def _when(
    value: object, place: str, dictionary: Dictionary, mistakes: list[Mistake], depth_left: int
) -> When:
    is_empty_group = value == {} and place != ""
    if not isinstance(value, dict) or is_empty_group or depth_left == 0:
        expected = CONDITIONS_EXPECTED.words if depth_left else f"conditions nested at most {DEPTH_MAX} deep"
        mistakes.append(Mistake(place, shown(value), expected))
        return When()
    groups: dict[str, tuple[When, ...]] = {"all": (), "any": ()}
    none: When | None = None
    tests: list[Test] = []
    for key, inner in value.items():
        at = f"{place}.{key}"
        if key in groups:
            groups[key] = tuple(_groups(inner, at, dictionary, mistakes, depth_left - 1))
        elif key == "not":
            none = _when(inner, at, dictionary, mistakes, depth_left - 1)
        else:
            tests += _tests(key, key, inner, at, dictionary, mistakes)
    return When(tuple(tests), groups["all"], groups["any"], none)


def _groups(
    value: object, place: str, dictionary: Dictionary, mistakes: list[Mistake], depth_left: int
) -> Iterator[When]:
    if not isinstance(value, list) or not 0 < len(value) <= VALUES_MAX:
        mistakes.append(
            Mistake(place, shown(value), f"a list of at least one group of {CONDITIONS_EXPECTED.words}")
        )
        return
    for number, one in enumerate(value, start=1):
        yield _when(one, f"{place}[{number}]", dictionary, mistakes, depth_left)


def _tests(
    fact: str, key: str, value: object, place: str, dictionary: Dictionary, mistakes: list[Mistake]
) -> Iterator[Test]:
    """The test of one key; of a sequence one for each attribute of its items."""
    own = FACTS.get(key) if fact == key else None
    vr = "" if own else dictionary().get(key, "").partition(" ")[0]  # "US or SS" is a number either way
    kind = own.kind if own else _KIND_OF_VR.get(vr)
    if kind is None:
        mistakes.append(Mistake(place, "", _known(key, vr, dictionary, is_inside=fact != key)))
    elif kind == "sequence" and isinstance(value, dict) and value:
        for inner, wanted in value.items():
            if inner == "present" and isinstance(wanted, bool):
                yield Test(fact, kind, Present(wanted), vr)
            else:
                yield from _tests(f"{fact}.{inner}", inner, wanted, f"{place}.{inner}", dictionary, mistakes)
    else:
        words = own.words if own else ()
        wanted = _wanted(value, kind, words)
        if wanted is None and (reversed_bounds := _reversed_bounds(value, kind)):
            least, most = reversed_bounds
            mistakes.append(Mistake(f"{place}.from", shown(least), f"at most to = {shown(most)}"))
        elif wanted is None:
            forms = (
                f"{one_of([quoted(word) for word in words])}, or a list of them" if words else _FORMS[kind]
            )
            mistakes.append(Mistake(place, shown(value), forms))
        else:
            yield Test(fact, kind, wanted, vr)


def _known(key: str, vr: str, dictionary: Dictionary, *, is_inside: bool) -> str:
    if vr:
        instead = "; ask patient_age_years" if vr == "AS" else ""
        return f"an attribute that is a text, number, date or time, which VR {vr} is not{instead}"
    ours = [] if is_inside else [*FACTS, "all", "any", "not"]
    near = difflib.get_close_matches(key, [*ours, *dictionary()], n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"{'a DICOM keyword' if is_inside else f'a DICOM keyword, or {one_of(ours)}'}{meant}"


def _wanted(value: object, kind: Kind, words: tuple[str, ...]) -> Wanted | None:
    """What a value asks for; None if that cannot be asked of this kind of fact."""
    match value:
        case {"present": bool(wanted), **rest} if not rest:
            return Present(wanted)
        case {"matches": str(pattern), **rest} if not rest and kind == "text" and not words:
            return Matches(pattern) if 0 < len(pattern) <= TEXT_CHARACTERS_MAX else None
        case dict(bounds) if bounds and bounds.keys() <= {"from", "to"}:
            return _within(bounds, kind)
        case list(values) if 0 < len(values) <= VALUES_MAX and kind != "time":
            return OneOf(tuple(values)) if all(_fits(one, kind, words) for one in values) else None
        case str() | int() | float() if kind != "time" and _fits(value, kind, words):
            return OneOf((value,))
    return None


def _within(bounds: Mapping[str, Any], kind: Kind) -> Within | None:
    if kind in ("text", "sequence") or not all(_fits(one, kind, ()) for one in bounds.values()):
        return None
    return None if _reversed_bounds(bounds, kind) else Within(bounds.get("from"), bounds.get("to"))


def _reversed_bounds(value: object, kind: Kind) -> tuple[Value, Value] | None:
    """The bounds of a range that nothing lies in; a time of day may run over midnight."""
    if kind not in ("number", "date") or not isinstance(value, dict) or value.keys() != {"from", "to"}:
        return None
    least, most = value["from"], value["to"]
    return (least, most) if _fits(least, kind, ()) and _fits(most, kind, ()) and least > most else None


def _fits(value: object, kind: Kind, words: tuple[str, ...]) -> bool:
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
    if not isinstance(value, str) or not 0 < len(value.strip()) <= len(value) <= TEXT_CHARACTERS_MAX:
        return False
    if kind == "date":
        return re.fullmatch(r"[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])", value) is not None
    if kind == "time":
        return re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value) is not None
    return not words or value.strip().lower() in [word.lower() for word in words]


def conditions_table(when: When) -> dict[str, Any]:
    """Writes conditions as the table that `read_conditions` reads as the same."""
    table: dict[str, Any] = {}
    for test in when.tests:
        *outer, key = test.fact.split(".")
        inner = table
        for sequence in outer:
            inner = inner.setdefault(sequence, {})
        wanted = _written(test.wanted)
        inner[key] = inner.get(key, {}) | wanted if isinstance(wanted, dict) else wanted
    for key, groups in (("all", when.all), ("any", when.any)):
        if groups:
            table[key] = [conditions_table(group) for group in groups]
    if when.none is not None:
        table["not"] = conditions_table(when.none)
    return table


def _written(wanted: Wanted) -> Any:
    match wanted:
        case OneOf((value,)):
            return value
        case OneOf(values):
            return list(values)
        case Matches(pattern):
            return {"matches": pattern}
        case Present(is_wanted):
            return {"present": is_wanted}
        case Within(least, most):
            return {key: one for key, one in (("from", least), ("to", most)) if one is not None}


def _from_file(value: object, info: ValidationInfo) -> When:
    return (
        value if isinstance(value, When) else read_conditions(value, (info.context or {}).get("dictionary"))
    )


Conditions = Annotated[
    When,
    PlainValidator(_from_file, json_schema_input_type=dict[str, Any]),
    PlainSerializer(conditions_table, return_type=dict[str, Any]),
    CONDITIONS_EXPECTED,
]
