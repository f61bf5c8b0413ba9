"""Who sits at the keyboard: the user of the operating system, since preread has none of its own."""

import getpass
import os


def operator() -> str:
    """Gives the words that stand in histories and in the audit trail."""
    try:
        return f"operator {getpass.getuser()}"
    except KeyError:  # a container's user need not have a name
        return f"operator with user ID {os.getuid()}"
