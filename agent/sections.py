"""Finds the sections of a radiologist's report by its headings. Pure, and the only place that does.

Reports come as one text from HL7 and FHIR, as a tree from DICOM; the words of the headings are the same.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Section(StrEnum):
    """A part of a report by what it is for (LOINC section codes, PS3.16 CID 7001)."""

    FINDINGS = "findings"
    IMPRESSION = "impression"
    INDICATION = "indication"
    COMPARISON = "comparison"
    TECHNIQUE = "technique"
    ADDENDUM = "addendum"
    OTHER = "other"


class Passage(NamedTuple):
    """Some lines of a report under one heading; `heading` is "" for what stands before the first one."""

    section: Section
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class ReportText:
    """What somebody wrote about a study, in plain text with line feeds.

    Attributes:
        findings, impression, indication, comparison, technique: a section each, or None if the report does
            not set it apart.
        addenda: what was added to or corrected in the report after it was written, in its order, each with its
            own heading: "Addendum 03/02/2026: ...".
        whole: every section in order, each after its heading.
    """

    findings: str | None
    impression: str | None
    indication: str | None
    comparison: str | None
    technique: str | None
    addenda: tuple[str, ...]
    whole: str

    @property
    def is_sectioned(self) -> bool:
        """True if findings or impression were set apart."""
        return self.findings is not None or self.impression is not None


# English as found in reports, and the headings of some neighbours.
_WORDS: dict[Section, tuple[str, ...]] = {
    Section.FINDINGS: (
        *("findings", "finding", "description", "observations"),
        *("befund", "befunde", "résultats", "résultat", "resultats", "resultat", "hallazgos", "achados"),
        *(
            "reperti",
            "bevindingen",
            "소견",
            "판독소견",
            "판독 소견",
            "所見",
            "检查所见",
            "影像所见",
            "影像学表现",
        ),
    ),
    Section.IMPRESSION: (
        *(
            "impression",
            "impressions",
            "imp",
            "conclusion",
            "conclusions",
            "opinion",
            "summary",
            "assessment",
        ),
        *("beurteilung", "zusammenfassung", "synthèse", "synthese", "conclusión", "impresión", "impressão"),
        *("conclusão", "conclusioni", "conclusie", "결론", "診断", "印象", "結論", "诊断意见", "结论"),
    ),
    Section.INDICATION: (
        *("indication", "indications", "clinical indication", "clinical indications", "indication for exam"),
        *("indication for study", "reason for exam", "reason for examination", "reason for study"),
        *("reason for this exam", "reason for this examination", "clinical history", "clinical information"),
        *("clinical data", "clinical details", "clinical statement", "patient history", "history", "hx"),
        *("medical condition", "request", "indikation", "fragestellung", "klinische angaben", "anamnese"),
        *("indicación", "indicação", "antecedentes", "quesito clinico", "klinische gegevens", "임상정보"),
        *("检查目的", "临床诊断", "検査目的", "臨床情報"),
    ),
    Section.COMPARISON: (
        *("comparison", "comparisons", "comparison study", "comparison studies", "prior studies"),
        *("comparison film", "comparison films", "comparison exam", "comparison date"),
        *("vergleich", "voruntersuchung", "voruntersuchungen", "comparaison", "comparación", "comparação"),
        *("confronto", "vergelijking", "비교", "比較", "比较"),
    ),
    Section.TECHNIQUE: (
        *(
            "technique",
            "views",
            "protocol",
            "technik",
            "técnica",
            "tecnica",
            "techniek",
            "검사방법",
            "检查技术",
        ),
    ),
    Section.ADDENDUM: (
        *("addendum", "addenda", "addendum report", "addendum to report", "amendment", "correction"),
        *("nachtrag", "ergänzung", "korrektur", "additif", "adenda", "adendo", "aanvulling"),
        *("추가판독", "追記", "补充报告"),
    ),
    Section.OTHER: (
        *("examination", "exam", "exam type", "procedure", "study", "recommendation", "recommendations"),
        *("notification", "comment", "comments", "technologist comment", "wet read", "plan"),
        *(
            "untersuchung",
            "empfehlung",
            "examen",
            "recommandation",
            "estudio",
            "recomendación",
            "추천",
            "권고",
        ),
    ),
}
# Under these stand the names of people. No colon is needed after them at the start of a line.
_SIGNATURES = (
    *("dictated by", "signed by", "electronically signed by", "digitally signed by", "requested by"),
    *("this document has been electronically signed by", "reviewed by", "pending review by", "read by"),
    *("interpreted by", "transcribed by", "approved by", "verified by", "attending radiologist"),
)
# These end an addendum that stands above the report.
_ADDENDUM_ENDS = (
    *("end addendum", "end of addendum", "addendum ends", "original report", "original report follows"),
    *("ursprünglicher befund", "originalbefund"),
)

_SECTION_OF = {word: section for section, words in _WORDS.items() for word in words}
_SECTION_OF |= dict.fromkeys((*_SIGNATURES, *_ADDENDUM_ENDS), Section.OTHER)


def _any_of(words: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_JOINT = r"[ \t]*(?:/|&|,|\b(?:and|und|et|y|e|en)\b)[ \t]*"
_ANY = _any_of(_SECTION_OF)
_WORD = rf"(?:{_ANY})(?:{_JOINT}(?:{_ANY})){{0,3}}"
_CAPITALS = _any_of(map(str.capitalize, _SECTION_OF))
_UPPER = _any_of(map(str.upper, _SECTION_OF))
# Within a line, "VIEWS:" is mostly the end of the exam's name: "CHEST, 2 VIEWS: The heart is large."
_UPPER_INSIDE = _any_of(word.upper() for word in _SECTION_OF if word != "views")
_COLON = r"[ \t]*(?:\([^()\n]{1,40}\)[ \t]*)?[:：]"

# A date, time or number after the word: "Befund vom 03.03.2026:", "ADDENDUM #2, 3-MAR-2026 at 10:30 AM:".
_MONTH = r"(?i:jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-z]{0,6}\.?[ ]"
_NUMBER = r"\d{1,4}(?:[./-]\w{1,9}|:\d\d){0,2}(?:[ ]?(?i:am|pm|uhr)\b)?"
_STAMP = rf"""(?:(?:[ \t]{{1,3}}|[,\#-])[,\#-]?[ \t]{{0,3}}(?:(?i:no|nr|dated|from|of|on|at|vom|am|um)\.?[ ]){{0,2}}
                (?:{_MONTH})?{_NUMBER}){{1,4}}(?!\w|:\d)"""
_DATED_WORDS = [*_WORDS[Section.FINDINGS], *_WORDS[Section.IMPRESSION], *_WORDS[Section.ADDENDUM]]
_DATED = rf"(?:{_any_of(_DATED_WORDS)}){_STAMP}"
_DATED_CAPITALS = rf"(?:{_any_of(map(str.capitalize, _DATED_WORDS))}){_STAMP}"
_DATED_UPPER = rf"(?:{_any_of(map(str.upper, _DATED_WORDS))}){_STAMP}"
# A heading stands before a colon at the start of a line in any case of letters, alone on its line with a capital,
# after the end of a sentence with a capital, or anywhere in capitals.
_HEADING = re.compile(
    rf"""
      ^[ \t*\#>_]{{0,8}}(?: (?P<line>(?i:{_DATED}|{_WORD}))[*_]*{_COLON}
                    | (?P<signed>(?i:{_any_of(_SIGNATURES)}))\b )[*_]*
    | ^[ \t*\#>_=-]{{0,20}}(?![a-z])(?P<alone>(?i:{_DATED}|{_WORD}))[ \t*_=-]*$
    | (?<=[.!?;][ ])(?P<sentence>{_DATED_CAPITALS}|{_CAPITALS}|{_UPPER}){_COLON}
    | (?<=\s)(?P<inside>{_DATED_UPPER}
                      | (?:{_UPPER_INSIDE})(?:[ ]*(?:/|&|AND)[ ]*(?:{_UPPER_INSIDE})){{0,3}}){_COLON}
    """,
    re.MULTILINE | re.VERBOSE,
)
_HEADING_KINDS = ("line", "alone", "signed", "sentence", "inside")

# Some reports call their findings so, or by the name of the exam. "Result: negative" is told of many things.
_EXAM_WORDS = (
    *("chest", "thorax", "cxr", "xr", "xray", "x", "ray", "radiograph", "radiography", "plain", "film"),
    *("view", "views", "ap", "pa", "a", "p", "lateral", "portable", "frontal", "upright", "erect", "supine"),
    *("single", "one", "two", "three", "and", "of", "the"),
    *("röntgen", "rö", "in", "im", "ebenen", "liegen", "stehen"),
)
_EXAM = (
    r"(?=[^:\n]{0,60}\b(?:chest|thorax|cxr)\b)"
    rf"(?:(?:{_any_of(_EXAM_WORDS)}|\d{{1,4}})\b[ ,./()&-]{{0,3}}){{2,12}}"
)
_STAND_IN = re.compile(
    rf"""
      ^[ \t*\#>_=-]{{0,20}}(?![a-z])(?P<alone>(?i:report|results?|interpretation|original\ report))
                           [*_]*(?:{_COLON})?[ \t*_=-]*$
    | ^[ \t*\#>_]{{0,8}}(?P<line>(?i:report|interpretation|original\ report|{_EXAM})|RESULTS?)[*_]*{_COLON}[*_]*
    | (?<=[.!?;][ ])(?P<inside>REPORT|RESULTS?|INTERPRETATION){_COLON}
    """,
    re.MULTILINE | re.VERBOSE,
)
_STAND_IN_KINDS = ("alone", "line", "inside")
_TWO_WORDS = re.compile(r"[^\W\d_]{2}[\W\d_]{1,9}[^\W\d_]{2}")

# What is told of an exam before anything is said of its images.
_PREAMBLE = (Section.INDICATION, Section.COMPARISON, Section.TECHNIQUE, Section.OTHER)

# A section of no other words only says where to read on: "See impression.", "As described below."
_PLACES = {*_DATED_WORDS, "above", "below", "report", "oben", "unten"}
_POINTING = {
    *("please", "see", "refer", "to", "as", "per", "in", "the", "and", "under", "section", "same"),
    *("described", "noted", "stated", "given", "listed", "mentioned", "detailed", "discussed"),
    *("siehe", "s", "vgl", "wie", "der", "die", "den", "und", "unter"),
}


class _Heading(NamedTuple):
    """A heading and its place in the text; `words` without marks and colon."""

    start: int
    end: int
    words: str
    section: Section


def report_text(passages: Sequence[Passage]) -> ReportText | None:
    """Puts the passages of a report together by section; None if there is no text in them."""
    passages = [passage for passage in passages if passage.text]
    if not passages:
        return None
    found = {
        section: "\n".join(one.text for one in passages if one.section == section) or None
        for section in Section
    }
    return ReportText(
        findings=found[Section.FINDINGS],
        impression=found[Section.IMPRESSION],
        indication=found[Section.INDICATION],
        comparison=found[Section.COMPARISON],
        technique=found[Section.TECHNIQUE],
        addenda=tuple(
            f"{one.heading or 'Addendum'}: {one.text}" for one in passages if one.section is Section.ADDENDUM
        ),
        whole=_whole(passages),
    )


def find_sections(text: str) -> tuple[Passage, ...]:
    """Cuts one text at its headings, in order; a text without any is one passage of Section.OTHER.

    Where no heading says "findings", two common layouts are known. Before an impression, "report", "results",
    "interpretation" and the exam's name are headings of findings. And the paragraphs that follow the preamble's own
    (indication, comparison, technique) are taken for them: everything but the description of the images is named.
    """
    text = tidy(text)
    headings = [
        _Heading(*match.span(), words, _section_of_words(words))
        for match in _HEADING.finditer(text)
        for words in (_words_of(match, _HEADING_KINDS),)
    ]
    if any(heading.section is Section.FINDINGS for heading in headings):
        passages = _cut(text, headings)
    else:
        stand_ins = {heading.start: heading for heading in _stand_ins(text, headings)}
        others = [heading for heading in headings if heading.start not in stand_ins]
        passages = list(_with_unnamed_findings(_cut(text, sorted([*others, *stand_ins.values()]))))
    return tuple(passage for passage in _with_whole_addenda(passages) if passage.text)


def only_points_elsewhere(text: str) -> bool:
    """True if a section says nothing but where to read on: "See impression.", "As below"."""
    words = set(re.findall(r"\w+", text.casefold()))
    return not words.isdisjoint(_PLACES) and words <= _PLACES | _POINTING


def section_of_heading(words: str) -> Section | None:
    """Says which section a heading names, None for words that are no known heading."""
    return _SECTION_OF.get(words.strip().casefold())


def tidy(text: str) -> str:
    """The text with line feeds only, without blanks at the ends of lines and more than one empty line."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip() for line in lines)).strip()


def _section_of_words(words: str) -> Section:
    """The section of a heading such as "Findings" or "Findings and impression"; findings go first in the latter."""
    named = [_SECTION_OF[part] for part in re.findall(_ANY, words.casefold())]
    return next((one for one in (Section.FINDINGS, Section.ADDENDUM) if one in named), named[0])


def _words_of(match: re.Match[str], kinds: Sequence[str]) -> str:
    return next(match[kind] for kind in kinds if match[kind])


def _stand_ins(text: str, headings: Sequence[_Heading]) -> Iterator[_Heading]:
    """What stands for the heading of the findings: between the preamble and the impression, else nothing does."""
    impression = next((one.start for one in headings if one.section is Section.IMPRESSION), 0)
    preamble_ends = [
        one.end for one in headings if one.start < impression and _is_of_preamble(one.section, one.words)
    ]
    for match in _STAND_IN.finditer(text, max(preamble_ends, default=0), impression):
        # "XR CHEST 2 VIEWS: 03/03/2026" is a title.
        if _TWO_WORDS.search(text, match.end(), impression):
            yield _Heading(*match.span(), _words_of(match, _STAND_IN_KINDS), Section.FINDINGS)


def _cut(text: str, headings: Sequence[_Heading]) -> list[Passage]:
    starts = [heading.start for heading in headings] + [len(text)]
    passages = [Passage(Section.OTHER, "", text[: starts[0]].strip())]
    for heading, end in zip(headings, starts[1:], strict=True):
        told = text[heading.end : end].strip()
        passages.append(Passage(heading.section, heading.words.capitalize(), told))
    return passages


def _is_of_preamble(section: Section, words: str) -> bool:
    return section in _PREAMBLE and words.casefold() not in (*_SIGNATURES, *_ADDENDUM_ENDS)


def _with_unnamed_findings(passages: Sequence[Passage]) -> Iterator[Passage]:
    ends = [place for place, one in enumerate(passages) if one.section is Section.IMPRESSION]
    before_impression = ends[0] if ends else len(passages)
    preamble = [
        place
        for place, one in enumerate(passages[:before_impression])
        if one.heading and _is_of_preamble(one.section, one.heading)
    ]
    for place, passage in enumerate(passages):
        own, blank_line, rest = passage.text.partition("\n\n")
        if preamble and place == preamble[-1] and blank_line and own:
            yield passage._replace(text=own)
            yield Passage(Section.FINDINGS, "", rest)
        else:
            yield passage


def _with_whole_addenda(passages: Iterable[Passage]) -> Iterator[Passage]:
    """Gives findings and impression to the addendum that they stand in: the report above it has told its own."""
    told: set[Section] = set()
    addendum = ""
    for passage in passages:
        if passage.section is Section.ADDENDUM:
            addendum = passage.heading
        elif not addendum and passage.section in (Section.FINDINGS, Section.IMPRESSION):
            told.add(passage.section)
        elif passage.section in told:
            heading = f"{addendum}, {passage.heading.casefold()}"
            passage = passage._replace(section=Section.ADDENDUM, heading=heading)
        yield passage


def _whole(passages: Sequence[Passage]) -> str:
    paragraphs = []
    heading_before = ""
    for passage in passages:
        if passage.heading and passage.heading != heading_before:
            paragraphs.append(f"{passage.heading}:")
        heading_before = passage.heading
        paragraphs.append(passage.text)
    return "\n".join(paragraphs)
