"""The kinds of value a setting may have: AE titles, addresses, paths, secrets. Each says what it expects."""

import ipaddress
import os
import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from config.problems import why_unread


@dataclass(frozen=True, slots=True)
class Expected:
    """What a field of this type expects, in words; stands in its annotation and in every message about it."""

    words: str


class Frozen(BaseModel):
    """A table of settings: cannot be changed, refuses unknown keys and values of another type."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        validate_by_name=True,
        validate_by_alias=True,
        # A value may hold a password; pydantic's own texts shall not repeat it.
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )


T = TypeVar("T")
H = TypeVar("H", bound=Hashable)

# TOML has lists, frozen settings have tuples: strictness is lifted for that one step, not for what is in it.
Listed = Annotated[tuple[T, ...], Field(strict=False)]


def _each_once(values: tuple[H, ...]) -> tuple[H, ...]:
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"each value once; twice there: {', '.join(twice)}")
    return values


Distinct = Annotated[tuple[H, ...], Field(strict=False), AfterValidator(_each_once)]


def _ae_title(text: str) -> str:
    # PS3.5 6.2, AE: outer spaces say nothing; default repertoire without backslash and controls.
    title = text.strip(" ")
    if not re.fullmatch(r"[ -\[\]-~]{1,16}", title):
        raise ValueError(AE_TITLE_EXPECTED.words)
    return title


AE_TITLE_EXPECTED = Expected(
    "an AE title: 1 to 16 ASCII characters, no backslash or control character, not only spaces (PS3.5 6.2)"
)
# For editors only, which do not take outer spaces off.
_AE_TITLE_PATTERN = r"^ *[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])? *$"
AETitle = Annotated[
    str,
    AfterValidator(_ae_title),
    AE_TITLE_EXPECTED,
    Field(json_schema_extra={"pattern": _AE_TITLE_PATTERN}),
]

OPTIONAL_AE_TITLE_EXPECTED = Expected(f'{AE_TITLE_EXPECTED.words}, or "" for none')
OptionalAETitle = Annotated[
    str,
    AfterValidator(lambda text: _ae_title(text) if text else ""),
    OPTIONAL_AE_TITLE_EXPECTED,
    Field(json_schema_extra={"pattern": f"^$|{_AE_TITLE_PATTERN}"}),
]

Port = Annotated[int, Field(ge=1, le=65535)]


_LABEL = r"[0-9A-Za-z_]([0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?"


def _host(text: str) -> str:
    is_name = len(text) <= 253 and re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", text) is not None
    if is_name and not re.fullmatch(r"[0-9.]+", text):
        return text
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise ValueError(HOST_EXPECTED.words) from error
    return text


HOST_EXPECTED = Expected('a host name or an IP address without brackets or port, such as "10.1.2.3"')
Host = Annotated[str, AfterValidator(_host), HOST_EXPECTED]

OPTIONAL_HOST_EXPECTED = Expected(f'{HOST_EXPECTED.words}, or "" for none')
OptionalHost = Annotated[
    str, AfterValidator(lambda text: _host(text) if text else ""), OPTIONAL_HOST_EXPECTED
]


def _web_address(text: str) -> str:
    if text == "":
        return text
    try:
        parts = urlsplit(text)
        is_plain = (
            parts.username is None and parts.password is None and not parts.query and not parts.fragment
        )
    except ValueError as error:
        raise ValueError(WEB_ADDRESS_EXPECTED.words) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain or re.search(r"\s", text):
        raise ValueError(WEB_ADDRESS_EXPECTED.words)
    return text.rstrip("/")


WEB_ADDRESS_EXPECTED = Expected(
    '"http://..." or "https://..." without user, password or query, or "" for none'
)
OptionalWebAddress = Annotated[str, AfterValidator(_web_address), WEB_ADDRESS_EXPECTED]


def _needed(text: str) -> str:
    if text == "":
        raise ValueError(NEEDED_WEB_ADDRESS_EXPECTED.words)
    return text


NEEDED_WEB_ADDRESS_EXPECTED = Expected('"http://..." or "https://..." without user, password or query')
WebAddress = Annotated[
    str, AfterValidator(_web_address), AfterValidator(_needed), NEEDED_WEB_ADDRESS_EXPECTED
]


def _search(text: str) -> str:
    parts = parse_qsl(text, keep_blank_values=True, strict_parsing=True) if text else []
    if not text.isascii() or re.search(r"[\s#?]", text) or any(name.startswith("_") for name, _ in parts):
        raise ValueError(SEARCH_EXPECTED.words)
    return text


SEARCH_EXPECTED = Expected(
    'FHIR search parameters such as "category=RAD&status=final" (without "_" at the beginning), or ""'
)
Search = Annotated[str, AfterValidator(_search), SEARCH_EXPECTED]


def is_loopback(host: str) -> bool:
    """Is it an address that only programs of this machine can reach?"""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_address(host: str) -> bool:
    """Is it an IP address, and not a name?"""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text)) if "/" in text else str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ValueError(f"{NETWORK_EXPECTED.words} ({error})") from error


NETWORK_EXPECTED = Expected('an IP address such as "10.1.2.3" or a network such as "10.1.2.0/24"')
Network = Annotated[str, AfterValidator(_network), NETWORK_EXPECTED]

# Defined terms of Specific Character Set (PS3.3 C.12.1.1.2), without and with code extensions.
_CHARSETS = frozenset(
    [f"ISO_IR {number}" for number in (6, 13, 100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 192, 203)]
    + [
        f"ISO 2022 IR {number}"
        for number in (6, 13, 58, 87, 100, 101, 109, 110, 126, 127, 138, 144, 148, 149, 159, 166, 203)
    ]
    + ["GB18030", "GBK"]
)


def none_if_empty(value: object) -> object:
    """Takes the empty text, which TOML has, for None, which it has not."""
    return None if value == "" else value


def _charset(text: str | None) -> str | None:
    if text is not None and not all(term in _CHARSETS for term in text.removeprefix("\\").split("\\")):
        raise ValueError(CHARSET_EXPECTED.words)
    return text


CHARSET_EXPECTED = Expected(
    "terms of Specific Character Set (PS3.3 C.12.1.1.2) "
    'such as "ISO_IR 100" or "\\\\ISO 2022 IR 149", or "" for none'
)
OptionalCharset = Annotated[
    str | None, BeforeValidator(none_if_empty), AfterValidator(_charset), CHARSET_EXPECTED
]


def _from_config_folder(path: Path | None, info: ValidationInfo) -> Path | None:
    folder = (info.context or {}).get("folder")
    return path if path is None or folder is None else folder / path


def _no_nul(value: object) -> object:
    # The one character that no file system takes; pathlib would raise only when the file is opened.
    if value == "" or (isinstance(value, str) and "\0" in value):
        raise ValueError(PATH_EXPECTED.words)
    return value


PATH_EXPECTED = Expected("a path; a relative one starts at the config folder")
FilePath = Annotated[
    Path, Field(strict=False), BeforeValidator(_no_nul), AfterValidator(_from_config_folder), PATH_EXPECTED
]

OPTIONAL_PATH_EXPECTED = Expected('a path (a relative one starts at the config folder), or "" for none')
OptionalPath = Annotated[
    Path | None,
    Field(strict=False),
    BeforeValidator(lambda value: None if value == "" else _no_nul(value)),
    AfterValidator(_from_config_folder),
    OPTIONAL_PATH_EXPECTED,
]


ENV_EXPECTED = Expected('the name of an environment variable, or "" for none')


class Secret(Frozen):
    """Where a password is to be found. The password itself is never held, so nothing can print it."""

    env: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$"), ENV_EXPECTED] = ""
    """Name of the environment variable that holds it."""

    file: OptionalPath = None
    """File that holds it on its first line; only the user who runs preread should be able to read it."""

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if bool(self.env) == bool(self.file):
            raise ValueError(SECRET_EXPECTED.words)
        return self

    def reveal(self) -> str:
        """Fetches the password now.

        Raises:
            LookupError: if the variable is not set, or the file cannot be read or is empty; the message
                names the place, never the content.
        """
        if self.env:
            if not os.environ.get(self.env):
                raise LookupError(f"environment variable {self.env} is not set")
            return os.environ[self.env]
        assert self.file is not None
        if problem := open_to_others(self.file):
            raise LookupError(problem)
        try:
            lines = self.file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise LookupError(f"{self.file} cannot be read ({_why(error)})") from error
        if not lines or not lines[0]:
            raise LookupError(f"the first line of {self.file} is empty")
        return lines[0]


def open_to_others(path: Path) -> str:
    """Says what to do about a secret that every user of the machine can read; "" if not, or if it is not there.

    A group may read it: ssl-cert of Debian does.
    """
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return ""
    return f"{path} is open to everybody, mode {mode:04o}; run: chmod o= {path}" if mode & 0o007 else ""


SECRET_EXPECTED = Expected('{ env = "NAME" } or { file = "path" }, never the password itself; or "" for none')
NEEDED_SECRET_EXPECTED = Expected('{ env = "NAME" } or { file = "path" }, never the password itself')
NeededSecret = Annotated[Secret, NEEDED_SECRET_EXPECTED]
OptionalSecret = Annotated[
    Secret | None,
    BeforeValidator(none_if_empty, json_schema_input_type=Secret | Literal[""]),
    SECRET_EXPECTED,
]


def _why(error: OSError | UnicodeDecodeError) -> str:
    return why_unread(error) if isinstance(error, OSError) else "not UTF-8 text"


def _database_url(text: str, info: ValidationInfo) -> str:
    if text == "":
        return text
    if "\0" in text or "\n" in text:
        raise ValueError(DATABASE_URL_EXPECTED.words)
    try:
        parts = urlsplit(text)
        password, _port = parts.password, parts.port
    except ValueError as error:
        raise ValueError(DATABASE_URL_EXPECTED.words) from error
    if password is not None or any("password" in key.lower() for key, _ in parse_qsl(parts.query)):
        raise ValueError('a URL without a password; write database_password = { env = "NAME" } instead')
    if text.startswith("sqlite:///") and len(text) > len("sqlite:///"):
        path = _from_config_folder(Path(text.removeprefix("sqlite:///")), info)
        return f"sqlite:///{path}"
    if parts.scheme in ("postgresql", "postgresql+psycopg") and parts.path.strip("/"):
        return text
    raise ValueError(DATABASE_URL_EXPECTED.words)


DATABASE_URL_EXPECTED = Expected(
    '"", "sqlite:///path/to/file" or "postgresql://user@host:5432/database", without a password'
)
DatabaseUrl = Annotated[str, AfterValidator(_database_url), DATABASE_URL_EXPECTED]

ONE_LINE_EXPECTED = Expected('one line of text of at most 64 characters, or ""')
OneLine = Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\\\x7f]*$"), ONE_LINE_EXPECTED]
"""Fits the value representation LO (PS3.5 6.2): no control characters, no backslash."""

NONEMPTY_LINE_EXPECTED = Expected("one line of text of 1 to 64 characters")
NonemptyLine = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\\\x7f]*$"), NONEMPTY_LINE_EXPECTED
]
"""The same, never empty."""

PeerName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$"),
    Expected('1 to 32 letters, digits and "_.-", a letter or digit first'),
]

OutputKind = Literal[
    "report_sr",
    "findings_sr",
    "presentation_state",
    "secondary_capture",
    "key_object_selection",
    "segmentation",
    "encapsulated_pdf",
    "findings_sr_air",
]
FALLBACK_EXPECTED = Expected('{ output = "output that goes instead", ... }, or {} for none')
Fallback = Annotated[dict[OutputKind, OutputKind], FALLBACK_EXPECTED]

Profile = Literal["default", "ohif", "weasis", "legacy_pacs", "sc_only", "strict_air"]
View = Literal["frontal", "lateral"]
TlsProfile = Literal["bcp195", "bcp195_extended"]


def _fingerprint(text: str) -> str:
    digits = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError(FINGERPRINT_EXPECTED.words)
    return digits


FINGERPRINT_EXPECTED = Expected("a SHA-256 fingerprint: 64 hexadecimal digits, with or without colons")
Fingerprint = Annotated[str, AfterValidator(_fingerprint), FINGERPRINT_EXPECTED]

Hl7Charset = Literal[
    "", "ASCII", "8859/1", "8859/2", "8859/5", "8859/7", "8859/9", "8859/15",
    "ISO IR87", "KS X 1001", "GB 18030-2000", "BIG-5", "UNICODE UTF-8",
]  # fmt: skip
"""Terms of HL7 Table 0211, MSH-18."""
