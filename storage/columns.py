"""The kinds of column: how a value of ours lies in a database, the same on both kinds."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import DateTime, Dialect, Text, TypeDecorator

from storage.outside_records import ExplainedStudy
from storage.records import PatientIdentifier

AnyWord = TypeVar("AnyWord", bound=StrEnum)

_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """The text without what a database cannot hold: NUL and lone surrogates become U+FFFD.

    Headers are what others send: a name padded with NUL must not keep its image from being stored.
    """
    return _NOT_STORABLE.sub("\ufffd", text)


class SentText(TypeDecorator[str]):
    """Text that came from outside, made `storable` on its way in."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, UTC inside and out. SQLite has no zones: there it is UTC text without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone must not be stored: {value.isoformat()}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Word(TypeDecorator[AnyWord], Generic[AnyWord]):
    """A member of a StrEnum as its word: readable in any SQL shell, and a new member needs no migration.

    Args:
        words: the enum, or what gives the member of one of several.
    """

    impl = Text
    cache_ok = True

    def __init__(self, words: Callable[[str], AnyWord]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: AnyWord | None, dialect: Dialect) -> str | None:
        return None if value is None else str(self.words(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> AnyWord | None:
        return None if value is None else self.words(value)


class Words(TypeDecorator[tuple[str, ...]]):
    r"""Short texts in one column with the Standard's own separator between them: `DX\SR` (PS3.5 6.4)."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str:
        return storable("\\".join(value or ()))

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...]:
        return tuple(value.split("\\")) if value else ()


class Identifiers(TypeDecorator[tuple[PatientIdentifier, ...]]):
    """Patient identifiers in one column, as JSON: [[patient ID, issuer], …]."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[PatientIdentifier, ...] | None, dialect: Dialect) -> str:
        pairs = [[one.patient_id, one.issuer] for one in value or ()]
        return json.dumps(pairs, ensure_ascii=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[PatientIdentifier, ...]:
        return tuple(PatientIdentifier(*pair) for pair in json.loads(value or "[]"))


class PassedOver(TypeDecorator[tuple[ExplainedStudy, ...]]):
    """Exams that were not chosen in one column, as JSON: [[Study Instance UID, reason], …]."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[ExplainedStudy, ...] | None, dialect: Dialect) -> str:
        return storable(json.dumps([[one.study_instance_uid, one.reason] for one in value or ()]))

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[ExplainedStudy, ...]:
        return tuple(ExplainedStudy(*pair) for pair in json.loads(value or "[]"))
