"""The answers to a C-STORE request (PS3.4 Table B.2-1, PS3.7 9.1.1.1.9 and Annex C), and why."""

SUCCESS = 0x0000

DUPLICATE_SOP_INSTANCE = 0x0111
"""Same SOP Instance UID, other bytes. PS3.7 Annex C names exactly this, if not for C-STORE; the codes that
are (A9xx, Cxxx) would send the administrator to look for a broken object where two whole ones share a UID.
Senders go by the class of a status, and any code outside 0000 and Bxxx is a failure to them."""

INVALID_SOP_INSTANCE = 0x0117
"""The SOP Instance UID breaks the rules by which UIDs are made (PS3.7 9.1.1.1.9)."""

NOT_AUTHORISED = 0x0124
"""An archive that is no sender sends what it was not asked for (PS3.7 9.1.1.1.9)."""

SOP_CLASS_NOT_SUPPORTED = 0x0122
"""The request names another SOP Class than the presentation context it came on (PS3.7 9.1.1.1.9)."""

OUT_OF_RESOURCES = 0xA700
"""Disk low or full, or the object above our limit; senders keep their image and may try later."""

DOES_NOT_MATCH = 0xA900
"""The dataset is not what the request said it was, or does not say to which study it belongs."""

CANNOT_UNDERSTAND = 0xC000
"""The dataset cannot be read: it ends too early, or its header is no DICOM."""

INTERNAL_ERROR = 0xC0FF
"""A bug of ours, in the range of "cannot understand" so that every sender takes it as a failure."""


class Refused(Exception):
    """A C-STORE request is not taken.

    Attributes:
        status: the DIMSE status to answer with.
        reason: a sentence for the person on duty; holds UIDs, AE titles and numbers, no patient data.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class ProtocolBreach(Exception):
    """The peer broke the rules of PS3.7 or PS3.8; the association is aborted. The text says what it did."""
