"""Encryption towards other systems, the same table for each of them."""

from typing import Annotated

from pydantic import Field

from config.values import Frozen, OptionalPath, TlsProfile


class DestinationTlsSettings(Frozen):
    """Encryption to one peer. Leave the table out to do without it."""

    ca_file: OptionalPath = None
    """Authorities that may vouch for the peer, PEM. Empty: those of the operating system."""

    certificate_file: OptionalPath = None
    """Our certificate, PEM, where the peer asks for one."""

    key_file: OptionalPath = None
    """The private key of that certificate, PEM, without a pass phrase."""

    server_name: Annotated[str, Field(max_length=253)] = ""
    """Name that the peer's certificate must carry. Empty: `host`. Not looked at over HTTP."""

    profile: TlsProfile = "bcp195"
    """What both sides may agree on, as `listener.tls.profile` of agent.toml. Not looked at over HTTP."""
