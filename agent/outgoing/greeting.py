"""Asks whether a receiver of messages is there, without sending it one."""

import os

from agent.outgoing import web
from agent.outgoing.mllp_client import reach
from config.receiver_settings import DropFolderSettings, Hl7ReceiverSettings, ReceiverSettings


def greet(receiver: ReceiverSettings) -> str | None:
    """Gives a sentence on what is wrong, or None.

    Of an HL7 receiver the port is tried, TLS included; of a FHIR server its capability statement is read; of a webhook
    any answer to a HEAD will do, since a POST would be a draft.
    """
    match receiver:
        case Hl7ReceiverSettings():
            return reach(receiver)
        case DropFolderSettings():
            if receiver.path.is_dir() and os.access(receiver.path, os.W_OK | os.X_OK):
                return None
            return f"{receiver.path} is no folder that we can write in"
        case _:
            return web.reach(receiver)
