"""Takes HL7 messages in: each is stored and answered AA, or kept in quarantine and answered with the reason.

What types of message there are is a table, given from outside: a pure parser for each, and what stores its result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import structlog

from agent.hl7.acknowledgement import AcknowledgmentCode, acknowledgement
from agent.hl7.message import INTERNAL_ERROR, UNSUPPORTED_TYPE, Message, MessageError, parse_message
from storage.database import trouble_of
from storage.files import Files
from storage.outside_records import QuarantinedMessage
from storage.reports import Reports

log = structlog.get_logger()

_KIND_SHOWN_CHARACTERS_MAX = 20


@dataclass(frozen=True, slots=True)
class MessageType:
    """How messages of one type (MSH-9.1) are taken.

    Attributes:
        parse: pure; raises MessageError for what cannot be taken. Gets the time of arrival.
        store: commits what `parse` gave, and says what became of it in words without the patient's.
    """

    parse: Callable[[Message, datetime], Any]
    store: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a message.

    Attributes:
        reason: why not, a sentence for the sender's operator; "" if it was taken.
        outcome: what the store said of it; "" if it was not taken.
    """

    code: AcknowledgmentCode
    reason: str = ""
    condition: str = ""
    outcome: str = ""


class MessageIntake:
    """The way of a message from its bytes to the store. Safe for several threads.

    Args:
        types: by MSH-9.1, such as "ORU".
        free_bytes_min: free space below which nothing is taken; the sender keeps its messages.
        assumed_charset: see `agent.hl7.message.parse_message`.
    """

    def __init__(
        self,
        types: Mapping[str, MessageType],
        reports: Reports,
        files: Files,
        clock: Callable[[], datetime],
        *,
        free_bytes_min: int,
        assumed_charset: str = "",
    ) -> None:
        self._types = types
        self._reports = reports
        self._files = files
        self._clock = clock
        self._free_bytes_min = free_bytes_min
        self._assumed_charset = assumed_charset

    def answer(self, content: bytes, origin: str) -> bytes:
        """Takes a message in and gives the acknowledgement, after the commit (HL7 v2.5.1 2.9.2).

        Args:
            origin: address of the sender, or name of the file.

        Raises:
            OSError, sqlalchemy.exc.SQLAlchemyError: if the database is away, or not even the quarantine can be
                written; there is no answer then, and the sender sends again.
        """
        taken = self.take(content, origin)
        return acknowledgement(
            content, taken.code, self._clock(), reason=taken.reason, condition=taken.condition
        )

    def take(self, content: bytes, origin: str) -> Taken:
        """Takes a message in; what cannot be taken is kept in quarantine. Raises as `answer`."""
        if self._files.free_bytes() < self._free_bytes_min:
            log.warning("message refused", origin=origin, reason="disk nearly full")
            return Taken("AE", "the disk of preread is nearly full; send again later", INTERNAL_ERROR)
        try:
            outcome = self._taken(content)
        except MessageError as error:
            code: AcknowledgmentCode = "AR" if error.condition == UNSUPPORTED_TYPE else "AE"
            return self._refused(content, origin, Taken(code, error.reason, error.condition))
        except Exception as error:  # the sender must have an answer, whatever we did wrong
            if trouble_of(error) is not None:
                # Not AE: most interface engines take that for the message's own fault and do not repeat it, and
                # each has to be replayed by hand. Without an answer all of them repeat it, in its place.
                raise
            log.exception("message failed", origin=origin)
            reason = "an error of preread's own, see its log; the message is kept for a replay"
            return self._refused(content, origin, Taken("AE", reason, INTERNAL_ERROR))
        log.info("message taken", origin=origin, outcome=outcome)
        return Taken("AA", outcome=outcome)

    def parsed(self, content: bytes) -> Any:
        """What the parser of its type makes of a message; nothing is stored. Raises MessageError."""
        message = parse_message(content, self._assumed_charset)
        return self._type_of(message).parse(message, self._clock())

    def _taken(self, content: bytes) -> str:
        message = parse_message(content, self._assumed_charset)
        kind = self._type_of(message)
        return kind.store(kind.parse(message, self._clock()))

    def _type_of(self, message: Message) -> MessageType:
        found = self._types.get(message.kind.partition("^")[0])
        if found is None:
            shown = "".join(filter(str.isprintable, message.kind[:_KIND_SHOWN_CHARACTERS_MAX])) or "none"
            raise MessageError(
                f'messages of type "{shown}" are not taken here, only {", ".join(sorted(self._types))}; '
                "do not route them to preread",
                UNSUPPORTED_TYPE,
            )
        return found

    def _refused(self, content: bytes, origin: str, taken: Taken) -> Taken:
        self.quarantine(content, origin, taken.reason, "hl7")
        return taken

    def quarantine(self, content: bytes, origin: str, reason: str, ending: str) -> None:
        """Keeps what cannot be taken, bytes and reason, for a replay. Raises as `answer`.

        Args:
            ending: of the file's name, which says what it is: "hl7" or "json".
        """
        digest = sha256(content).hexdigest()
        path = f"quarantine/{digest[:2]}/{digest}.{ending}"
        self._files.put(path, content)
        kept = self._reports.quarantine(
            QuarantinedMessage(
                number=0,
                at=self._clock(),
                times=1,
                origin=origin,
                reason=reason,
                path=path,
                sha256=digest,
                size_bytes=len(content),
                resolved_at=None,
            )
        )
        log.warning("message quarantined", origin=origin, number=kept.number, times=kept.times, reason=reason)
