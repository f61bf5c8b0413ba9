"""What it means that a stored file is not there."""

from agent.errors import GiveUp, TryLater
from storage.files import Files

_AWAY_SECONDS = 30.0


def lost(path: str, files: Files) -> GiveUp:
    """Says that a file was lost or deleted.

    Raises:
        TryLater: if the disk with all of them is away.
    """
    if not files.absolute(path.partition("/")[0]).is_dir():
        raise TryLater("the folder of stored files is away; mount its disk", _AWAY_SECONDS)
    return GiveUp(
        f"the stored file {path} is gone; send the study again (preread scrub names what else is missing)"
    )
