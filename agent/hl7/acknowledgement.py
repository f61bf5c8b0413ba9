"""The answer to a message (HL7 v2.5.1 2.9.2, original mode). Pure."""

import re
from datetime import datetime
from hashlib import sha256
from typing import Literal

from agent.hl7.message import Message, MessageError, parse_message
from agent.hl7.writing import escaped

AcknowledgmentCode = Literal["AA", "AE", "AR"]
"""HL7 Table 0008: taken; taken not, since something is wrong with it; not what we take."""


def acknowledgement(
    content: bytes, code: AcknowledgmentCode, now: datetime, *, reason: str = "", condition: str = ""
) -> bytes:
    """Writes an ACK for the message that `content` holds, or for nothing if it holds none.

    Args:
        now: aware; written in its own zone.
        reason: a sentence for the sender's operator; in MSA-3 for old receivers, in ERR-8 for those of 2.5.
        condition: code of HL7 Table 0357 for ERR-3, with its text and system.
    """
    try:
        message = parse_message(content)
    except MessageError:
        message = parse_message(b"MSH|^~\\&|||||||ACK")
    header = message.first("MSH")
    mark = header.delimiters.field
    reason = escaped(re.sub(r"[\r\n]+", " ", reason), header.delimiters)
    answer_id = sha256(content + code.encode()).hexdigest()[:20]
    lines = [
        mark.join(
            (
                "MSH",
                header.raw(2),
                *(header.raw(number) for number in (5, 6, 3, 4)),
                now.strftime("%Y%m%d%H%M%S%z"),
                "",
                _answer_kind(message),
                answer_id,
                header.raw(11) or "P",
                header.raw(12) or "2.5",
            )
        ),
        mark.join(("MSA", code, header.raw(10), reason)).rstrip(mark),
    ]
    if reason:
        lines.append(mark.join(("ERR", "", "", condition, "E", "", "", "", reason)))
    return "".join(f"{line}\r" for line in lines).encode(header.delimiters.codec, "replace")


def _answer_kind(message: Message) -> str:
    header = message.first("MSH")
    trigger = header.text(9, 2)
    return header.delimiters.component.join(("ACK", trigger, "ACK") if trigger else ("ACK",))
