r"""One HL7 v2 message as segments and fields (HL7 v2.5.1 chapter 2). Pure.

By hand: of what a message needs, splitting at five characters is the easy part, and the library at hand (hl7 0.4.5)
takes 46 s and 1.3 GB for 2 MB of "^~", ends a text at a lone "\", and logs the text of what it cannot unescape.
"""

import re
from dataclasses import dataclass

from agent.identity import too_long

UNSUPPORTED_TYPE = "200^Unsupported message type^HL70357"
SEGMENT_ERROR = "100^Segment sequence error^HL70357"
FIELD_MISSING = "101^Required field missing^HL70357"
DATA_ERROR = "102^Data type error^HL70357"
INTERNAL_ERROR = "207^Application internal error^HL70357"
"""HL7 Table 0357: what is wrong with a message, as ERR-3 has it."""

MESSAGE_IDENTIFIERS_MAX = 100
"""Identifiers of patients that one message may name; one of a person has up to four. Each number that is merged is
held against all the others: 100 take 0.2 s, 800 seven, and meanwhile nobody else may write."""


class MessageError(ValueError):
    """A message that cannot be taken, and why, in a sentence that names no patient.

    Attributes:
        condition: a code of HL7 Table 0357.
    """

    def __init__(self, reason: str, condition: str = DATA_ERROR) -> None:
        super().__init__(reason)
        self.reason = reason
        self.condition = condition


def refuse_too_long(*named: tuple[str, str]) -> None:
    """Raises MessageError if one of these, each given behind its name, is longer than any number or name is."""
    problem = too_long(*named)
    if problem is not None:
        raise MessageError(problem)


def refuse_too_many(identifiers: int) -> None:
    """Raises MessageError if a message names more identifiers of patients than one is to."""
    if identifiers > MESSAGE_IDENTIFIERS_MAX:
        raise MessageError(
            f"it names {identifiers} patient identifiers; more than {MESSAGE_IDENTIFIERS_MAX} are not taken"
        )


@dataclass(frozen=True, slots=True)
class Delimiters:
    """The five characters of MSH-1 and MSH-2, and the codec of the message, which `\\X..\\` needs too."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    codec: str = "utf-8"


@dataclass(frozen=True, slots=True)
class Segment:
    """One line of a message. Fields are numbered as in the standard; what is absent is "".

    Attributes:
        fields: as sent, still escaped; fields[0] is the name, and for MSH fields[1] the field separator.
    """

    name: str
    fields: tuple[str, ...]
    delimiters: Delimiters

    def raw(self, number: int) -> str:
        """A field as sent, with all its delimiters and escapes."""
        return self.fields[number] if number < len(self.fields) else ""

    def repetitions(self, number: int) -> list[str]:
        """The repetitions of a field, each as sent; [] for an empty field."""
        raw = self.raw(number)
        return raw.split(self.delimiters.repetition) if raw else []

    def text(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """A part of the first repetition of a field, unescaped and without blanks around it."""
        first, _, _ = self.raw(number).partition(self.delimiters.repetition)
        return self.part(first, component, subcomponent)

    def part(self, repetition: str, component: int = 1, subcomponent: int = 1) -> str:
        """The same of one of `repetitions`."""
        components = repetition.split(self.delimiters.component, component)
        if component > len(components):
            return ""
        subcomponents = components[component - 1].split(self.delimiters.subcomponent, subcomponent)
        if subcomponent > len(subcomponents):
            return ""
        return self.unescaped(subcomponents[subcomponent - 1]).strip()

    def unescaped(self, raw: str) -> str:
        r"""Text with its escape sequences put into effect (2.7); a lone escape character stays as it is.

        `\.br\`, `\.sp\` and `\.ce\` become line feeds, `\X..\` the bytes in the message's character set;
        highlighting, indentation, character set switches and local sequences leave nothing behind.
        """
        mark = self.delimiters.escape
        if mark not in raw:
            return raw
        pattern = _sequence(re.escape(mark))
        return pattern.sub(lambda match: _meaning(match, self.delimiters), raw)


@dataclass(frozen=True, slots=True)
class Message:
    """A message, parsed as far as its fields."""

    segments: tuple[Segment, ...]

    def first(self, name: str) -> Segment:
        """The first segment of this name; one without fields if there is none."""
        empty = Segment(name, (name,), self.segments[0].delimiters)
        return next((segment for segment in self.segments if segment.name == name), empty)

    @property
    def kind(self) -> str:
        """Message type and trigger event, such as "ORU^R01" (MSH-9)."""
        header = self.segments[0]
        return "^".join(filter(None, (header.text(9), header.text(9, 2))))

    @property
    def control_id(self) -> str:
        """MSH-10, which the answer repeats."""
        return self.segments[0].text(10)

    @property
    def sender(self) -> str:
        """Sending application and facility (MSH-3, MSH-4)."""
        header = self.segments[0]
        return " ".join(filter(None, (header.text(3), header.text(4))))


def parse_message(content: bytes, assumed_charset: str = "") -> Message:
    """Parses one message, whatever ends its lines.

    Args:
        assumed_charset: a term of HL7 Table 0211 for a message whose MSH-18 is empty and which is not UTF-8.

    Raises:
        MessageError: if it does not begin with a usable MSH segment, or holds more than one.
    """
    content = content.lstrip(b"\xef\xbb\xbf \t\r\n")
    if content[:3] != b"MSH" or len(content) < 8:
        raise MessageError("it does not begin with an MSH segment", SEGMENT_ERROR)
    separator, marks = chr(content[3]), content[4:8].decode("latin-1")
    # A mark that is a letter, a blank or the end of a line would cut words, and our answer to it is no message.
    if not all(mark.isprintable() and not mark.isalnum() and mark != " " for mark in separator + marks) or (
        separator in marks or len({*marks}) < 4
    ):
        raise MessageError("MSH-1 and MSH-2 do not name five delimiters", SEGMENT_ERROR)
    header = re.split(rb"[\r\n]", content, maxsplit=1)[0].decode("latin-1")
    named = [*header.split(separator), *[""] * 18][17].split(marks[1])[0]
    text, codec = _decoded(content, named, assumed_charset)
    text = text.replace("\0", " ")  # the one character that no PostgreSQL text can hold
    delimiters = Delimiters(separator, marks[0], marks[1], marks[2], marks[3], codec)
    segments = tuple(_segment(line, delimiters) for line in _lines(text, separator))
    if sum(segment.name == "MSH" for segment in segments) > 1:
        raise MessageError("it holds several messages under one start; send each by itself", SEGMENT_ERROR)
    return Message(segments)


def _lines(text: str, separator: str) -> list[str]:
    """The segments' lines. A line that begins with no segment name goes on with the one before: senders that
    write FT with plain line feeds are more than those that escape them."""
    name = re.compile(rf"[A-Z][A-Z0-9]{{2}}(?:{re.escape(separator)}|$)")
    lines: list[list[str]] = []
    for line in re.split(r"\r\n|\r|\n", text):
        if name.match(line):
            lines.append([line])
        elif lines:
            lines[-1].append(line)
    return ["\n".join(parts).rstrip("\n") for parts in lines]


def _segment(line: str, delimiters: Delimiters) -> Segment:
    fields = line.split(delimiters.field)
    if fields[0] == "MSH":
        fields.insert(1, delimiters.field)
    return Segment(fields[0], tuple(fields), delimiters)


# HL7 Table 0211, and what is written there instead of it.
_CODECS = {
    "": "",
    "ASCII": "ascii",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "UNICODE": "utf-8",
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    **{f"ISO-8859-{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "ISO IR6": "ascii",
    "ISO IR14": "shift_jis",
    "ISO IR87": "iso2022_jp_2",
    "ISO IR159": "iso2022_jp_2",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "cp949",
    "CNS 11643-1992": "euc_tw",
    "BIG-5": "big5",
    "WINDOWS-1250": "cp1250",
    "WINDOWS-1251": "cp1251",
    "WINDOWS-1252": "cp1252",
}
CHARSETS = tuple(term for term, codec in _CODECS.items() if codec != "euc_tw")
"""Terms of HL7 Table 0211 that can be read, and "" for none."""


def codec_of(term: str) -> str:
    """The codec of a term of `CHARSETS`, as Python calls it; ASCII for "" (HL7 v2.5.1 2.15.9.18)."""
    return _CODECS[term] or "ascii"


def _decoded(content: bytes, named: str, assumed: str) -> tuple[str, str]:
    """The text and its codec: as named, else UTF-8 if it is that, else as assumed, else Latin-1 (which takes all)."""
    for term in (named.strip().upper(), "UNICODE UTF-8", assumed.upper()):
        codec = _CODECS.get(term, "") if term in CHARSETS else ""
        try:
            if codec:
                return content.decode(codec), codec
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1"), "latin-1"


def _sequence(mark: str) -> re.Pattern[str]:
    # Only what is a sequence: "a\b c" in somebody's report has a lone backslash and no sequence.
    hexadecimal = rf"(?P<hex>(?:{mark}X(?:[0-9A-Fa-f]{{2}})+{mark})+)"
    formatting = r"\.(?P<format>[a-z]{2})[+-]?(?P<times>\d{0,3})"
    silent = r"[HN]|[CM][0-9A-Fa-f]{4,6}|Z[^\r\n]{0,20}?"
    return re.compile(rf"{hexadecimal}|{mark}(?:(?P<sign>[FSTREP])|{formatting}|{silent}){mark}")


def _meaning(match: re.Match[str], delimiters: Delimiters) -> str:
    if match["hex"]:
        digits = match["hex"].replace(delimiters.escape, " ").replace("X", " ")
        return (
            bytes.fromhex(digits).decode(delimiters.codec, "replace").replace("\r\n", "\n").replace("\0", " ")
        )
    if match["sign"]:
        return {
            "F": delimiters.field,
            "S": delimiters.component,
            "T": delimiters.subcomponent,
            "R": delimiters.repetition,
            "E": delimiters.escape,
            "P": "#",
        }[match["sign"]]
    times = min(int(match["times"] or 1), 20)
    return {"br": "\n", "ce": "\n", "sp": "\n", "sk": " "}.get(match["format"] or "", "") * times
