"""Audit messages to an audit record repository: syslog (RFC 5424) over TLS (RFC 5425), as IHE ATNA has it."""

import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime

from agent.audit.messages import AuditSource
from agent.tls import peer_context
from config.settings import AuditSyslogSettings

_PRIORITY = 10 * 8 + 5  # facility "security/authorization", severity "notice" (PS3.15 A.6)
_MESSAGE_ID = "DICOM+RFC3881"  # PS3.15 A.6
_APP_NAME = "preread"


def framed(message: str, at: datetime, source: AuditSource) -> bytes:
    """One message as it goes over the wire: its length, a space, header and XML (RFC 5425 4.3, RFC 5424 6).

    No structured data; the text is UTF-8 and says so by the byte order mark.
    """
    stamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    header = f"<{_PRIORITY}>1 {stamp} {source.host} {_APP_NAME} {source.process_id} {_MESSAGE_ID} - "
    content = header.encode("ascii", "replace") + b"\xef\xbb\xbf" + message.encode()
    return f"{len(content)} ".encode() + content


def send(frames: Sequence[bytes], server: AuditSyslogSettings) -> None:
    """Sends frames over one connection and closes it in order.

    Syslog has no acknowledgement: a server that takes the bytes and loses them is not noticed. The file has them.

    Raises:
        OSError: if it cannot be reached, its certificate is no good, or it took not all; then send all again.
    """
    context = peer_context(server)
    with (
        socket.create_connection((server.host, server.port), server.timeout_seconds) as plain,
        context.wrap_socket(plain, server_hostname=server.host) as connection,
    ):
        for frame in frames:
            connection.sendall(frame)
        # Waits for the other side's close: until then it may still be reading what we sent. Not every server answers.
        try:
            connection.unwrap()
        except (TimeoutError, ssl.SSLError):
            return
