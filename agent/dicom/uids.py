"""Derives UIDs: the same facts give the same UID, so doing a thing twice makes no twins in the PACS."""

from hashlib import sha256
from uuid import UUID, uuid4, uuid5  # noqa: TID251 - `drawn_uid` is for what is no result

_NAMESPACE = UUID("6f7b3c52-8a55-5d0e-9c0b-0d5f6a1c9e84")  # ours alone; changing it renames every result


def derived_uid(*parts: str) -> str:
    """Gives the UID that stands for `parts`, in this order: "2.25." and a name-based UUID as an integer.

    PS3.5 B.2 and RFC 4122 4.3. At most 44 characters. Each part's length goes into the name, so that
    ("ab", "c") and ("a", "bc") differ.

    Raises:
        ValueError: if there are no parts; that UID would stand for nothing.
    """
    if not parts:
        raise ValueError("a UID is derived from at least one part")
    name = "".join(f"{len(part)}:{part}" for part in parts)
    return f"2.25.{uuid5(_NAMESPACE, name).int}"


def drawn_uid() -> str:
    """Gives a UID that nobody can guess, another one each time (PS3.5 B.2, RFC 4122 4.4).

    For what must not be answered by those who were not asked, and is written down before it is used. Never for an
    object.
    """
    return f"2.25.{uuid4().int}"


IMPLEMENTATION_CLASS_UID = derived_uid("preread", "implementation class")
"""Goes into the file meta of what we write and into our associations (PS3.7 D.3.3.2)."""

IMPLEMENTATION_VERSION_NAME = "PREREAD"
"""At most 16 characters (PS3.8 D.3.3.2.3)."""


def path_of(folder: str, sop_instance_uid: str) -> str:
    """Gives where an instance is kept, without the ending: `folder`, one of 256 folders in it, and its UID.

    Not a folder for each study and series: in a chest study nearly every image is the first of its series, and each
    new folder costs two fsyncs before a sender can be answered.
    """
    return f"{folder}/{sha256(sop_instance_uid.encode()).hexdigest()[:2]}/{sop_instance_uid}"


def folders_of(folder: str) -> tuple[str, ...]:
    """Gives the 256 folders that `path_of` spreads instances over."""
    return tuple(f"{folder}/{number:02x}" for number in range(256))
