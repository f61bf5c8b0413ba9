"""Where a message begins and ends: on a connection (MLLP, HL7 v2.5.1 appendix C.2) and in a file. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

START, END, CARRIAGE_RETURN = b"\x0b", b"\x1c", b"\r"


class TooLong(ValueError):
    """A message is longer than the limit, or never ends."""


@dataclass(slots=True)
class Deframer:
    """Cuts the bytes of one connection into messages.

    What stands before a start byte is passed over, as is the carriage return after an end byte, whether or not it
    comes. A start byte inside a message ends it too: its sender began again.

    Args:
        message_bytes_max: bytes of one message.
    """

    message_bytes_max: int
    _open: bytearray | None = field(default=None, init=False)

    @property
    def is_inside(self) -> bool:
        """True while a message has begun and not ended."""
        return self._open is not None

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Gives the messages that end in `received`, in order.

        Raises:
            TooLong: as soon as one has more than message_bytes_max bytes; nothing may be fed any more.
        """
        for piece in re.split(rb"([\x0b\x1c])", received):
            if piece == START:
                if self._open:
                    yield bytes(self._open)
                self._open = bytearray()
            elif piece == END:
                if self._open is not None:
                    yield bytes(self._open)
                self._open = None
            elif self._open is not None:
                self._open += piece
                if len(self._open) > self.message_bytes_max:
                    raise TooLong(
                        f"a message of more than message_bytes_max = {self.message_bytes_max} bytes"
                    )


def framed(message: bytes) -> bytes:
    """A message as it goes over a connection."""
    return START + message + END + CARRIAGE_RETURN


# Engines log their traffic with names for what cannot be printed: <SB> and <VT>, <EB> and <FS>, <R> and <CR>.
_WRITTEN_FRAME = re.compile(rb"<(?:SB|VT)>(.*?)(?:<(?:EB|FS)>|(?=<(?:SB|VT)>)|\Z)", re.DOTALL)
_WRITTEN_END = re.compile(rb"<(?:R|CR)>[\r\n]*")
# A new message begins at MSH; a batch's own segments (FHS, BHS, BTS, FTS) end one and belong to none.
_BEGINNING = re.compile(rb"(?:\A|(?<=[\r\n]))(?=MSH[^A-Za-z0-9\s]|[FB][HT]S(?:[^A-Za-z0-9\s]|\s|\Z))")
_BATCH = (b"FHS", b"BHS", b"BTS", b"FTS")


def split_file(content: bytes) -> tuple[bytes, ...]:
    """Gives the messages of a file: one, many, a batch (FHS, BHS), framed ones, or an engine's log.

    Whatever stands where a message should be comes too, so that somebody can say why it is none; of an empty
    frame nothing, and a file without any message whole. Text between the frames of a log does not.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content.strip():
        return ()
    if START in content:
        pieces = tuple(Deframer(len(content)).feed(content + END))
    elif written := _WRITTEN_FRAME.findall(content):
        pieces = tuple(_WRITTEN_END.sub(b"\r", piece) for piece in written)
    else:
        pieces = (content,)
    return tuple(message for piece in pieces for message in _messages(piece))


def _messages(piece: bytes) -> list[bytes]:
    parts = [part.strip() for part in _BEGINNING.split(piece)]
    messages = [part for part in parts if part and not part.startswith(_BATCH)]
    return messages if any(parts) else [b""]
