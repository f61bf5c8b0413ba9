"""What the listener lets in: SOP Classes, senders, UIDs. Pure; what is *read* is decided elsewhere."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from agent.tls import ShownCertificate
from storage.records import InstanceRole

_REPORT = InstanceRole.REPORT
_IMAGE = InstanceRole.IMAGE
_OTHER = InstanceRole.OTHER

# PS3.4 Table B.5-1, the part of it that can belong to the reading of a chest radiograph.
SOP_CLASSES: dict[str, tuple[str, InstanceRole]] = {
    "1.2.840.10008.5.1.4.1.1.1": ("Computed Radiography Image", _IMAGE),
    "1.2.840.10008.5.1.4.1.1.1.1": ("Digital X-Ray Image - For Presentation", _IMAGE),
    "1.2.840.10008.5.1.4.1.1.1.1.1": ("Digital X-Ray Image - For Processing", _IMAGE),
    "1.2.840.10008.5.1.4.1.1.7": ("Secondary Capture Image", _OTHER),
    "1.2.840.10008.5.1.4.1.1.7.1": ("Multi-frame Single Bit Secondary Capture Image", _OTHER),
    "1.2.840.10008.5.1.4.1.1.7.2": ("Multi-frame Grayscale Byte Secondary Capture Image", _OTHER),
    "1.2.840.10008.5.1.4.1.1.7.3": ("Multi-frame Grayscale Word Secondary Capture Image", _OTHER),
    "1.2.840.10008.5.1.4.1.1.7.4": ("Multi-frame True Color Secondary Capture Image", _OTHER),
    "1.2.840.10008.5.1.4.1.1.88.11": ("Basic Text SR", _REPORT),
    "1.2.840.10008.5.1.4.1.1.88.22": ("Enhanced SR", _REPORT),
    "1.2.840.10008.5.1.4.1.1.88.33": ("Comprehensive SR", _REPORT),
    "1.2.840.10008.5.1.4.1.1.88.34": ("Comprehensive 3D SR", _REPORT),
    "1.2.840.10008.5.1.4.1.1.88.35": ("Extensible SR", _REPORT),
    "1.2.840.10008.5.1.4.1.1.88.40": ("Procedure Log", _OTHER),
    "1.2.840.10008.5.1.4.1.1.88.50": ("Mammography CAD SR", _OTHER),
    "1.2.840.10008.5.1.4.1.1.88.59": ("Key Object Selection Document", _OTHER),
    "1.2.840.10008.5.1.4.1.1.88.65": ("Chest CAD SR", _OTHER),
    "1.2.840.10008.5.1.4.1.1.88.67": ("X-Ray Radiation Dose SR", _OTHER),
    "1.2.840.10008.5.1.4.1.1.88.68": ("Radiopharmaceutical Radiation Dose SR", _OTHER),
    "1.2.840.10008.5.1.4.1.1.88.69": ("Colon CAD SR", _OTHER),
    "1.2.840.10008.5.1.4.1.1.88.70": ("Implantation Plan SR", _OTHER),
    "1.2.840.10008.5.1.4.1.1.88.71": ("Acquisition Context SR", _OTHER),
    "1.2.840.10008.5.1.4.1.1.88.72": ("Simplified Adult Echo SR", _OTHER),
    "1.2.840.10008.5.1.4.1.1.88.73": ("Patient Radiation Dose SR", _OTHER),
    "1.2.840.10008.5.1.4.1.1.88.74": ("Planned Imaging Agent Administration SR", _OTHER),
    "1.2.840.10008.5.1.4.1.1.88.75": ("Performed Imaging Agent Administration SR", _OTHER),
    "1.2.840.10008.5.1.4.1.1.88.76": ("Enhanced X-Ray Radiation Dose SR", _OTHER),
    "1.2.840.10008.5.1.4.1.1.11.1": ("Grayscale Softcopy Presentation State", _OTHER),
    "1.2.840.10008.5.1.4.1.1.11.2": ("Color Softcopy Presentation State", _OTHER),
    "1.2.840.10008.5.1.4.1.1.11.3": ("Pseudo-Color Softcopy Presentation State", _OTHER),
    "1.2.840.10008.5.1.4.1.1.11.4": ("Blending Softcopy Presentation State", _OTHER),
    "1.2.840.10008.5.1.4.1.1.11.5": ("XA/XRF Grayscale Softcopy Presentation State", _OTHER),
    "1.2.840.10008.5.1.4.1.1.11.8": ("Advanced Blending Presentation State", _OTHER),
    "1.2.840.10008.5.1.4.1.1.11.12": ("Variable Modality LUT Softcopy Presentation State", _OTHER),
    "1.2.840.10008.5.1.4.1.1.66.4": ("Segmentation", _OTHER),
    "1.2.840.10008.5.1.4.1.1.104.1": ("Encapsulated PDF", _OTHER),
    "1.2.840.10008.5.1.4.1.1.104.2": ("Encapsulated CDA", _OTHER),
}
"""SOP Class UID to its name (without "Storage") and to what an instance of it is to us."""

TRANSFER_SYNTAXES: dict[str, str] = {
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.1.98": "Encapsulated Uncompressed Explicit VR Little Endian",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless, First-Order Prediction",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless (Process 14)",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless Only",
    "1.2.840.10008.1.2.4.92": "JPEG 2000 Part 2 Lossless Only",
    "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000 Lossless Only",
    "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000 with RPCL Lossless Only",
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.5": "RLE Lossless",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.53": "JPEG Spectral Selection (retired)",
    "1.2.840.10008.1.2.4.55": "JPEG Full Progression (retired)",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.93": "JPEG 2000 Part 2",
    "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
"""Transfer Syntax UID to its name. Left out: video, and the JPIP ones, whose pixels stay at the sender."""

# PS3.5 9.1: up to 64 characters, components of digits without leading zeros, separated by dots.
# [0-9], not \d, which also matches digits of other scripts.
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_UID_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True)
class Sender:
    """One system that may send to us.

    Attributes:
        ae_title: its calling AE title.
        addresses: IP addresses or networks (CIDR) it may come from; empty = any.
        certificate_subject: Common Name or DNS name that its certificate must have; "" = any.
        certificate_sha256: of the certificates that it may show, hexadecimal in lower case; () = any.
    """

    ae_title: str
    addresses: tuple[str, ...] = ()
    certificate_subject: str = ""
    certificate_sha256: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SenderRules:
    """Who may open an association with us.

    Attributes:
        ae_title: ours.
        also_called: other AE titles that are ours.
        senders: the systems known; their order does not matter.
        check_called_ae_title: refuse what calls another AE title than ours.
        accept_any_sender: let in systems that are not in `senders`.
    """

    ae_title: str
    senders: Sequence[Sender] = ()
    check_called_ae_title: bool = True
    accept_any_sender: bool = False
    also_called: tuple[str, ...] = ()


def role_of(sop_class_uid: str) -> InstanceRole:
    """Says what an instance of a SOP Class is to us. Raises KeyError for one that is not in SOP_CLASSES."""
    return SOP_CLASSES[sop_class_uid][1]


def valid_uid(text: str) -> bool:
    """Says whether `text` is a UID by PS3.5 9.1; such a text is also safe as a file name."""
    return len(text) <= _UID_LENGTH_MAX and _UID.fullmatch(text) is not None


def sender_problem(
    calling_ae_title: str, called_ae_title: str, address: str, rules: SenderRules
) -> str | None:
    """Says in a sentence why an association is refused, or None if it is welcome.

    Args:
        calling_ae_title, called_ae_title: as proposed, leading and trailing spaces are ignored (PS3.5 6.2).
        address: IP address of the sender, without port.
    """
    return called_problem(called_ae_title, rules) or calling_problem(calling_ae_title, address, rules)


def address_problem(address: str, rules: SenderRules) -> str:
    """Says why nobody may come from an address, whatever it calls itself; "" if somebody may."""
    if rules.accept_any_sender or any(comes_from(address, sender.addresses) for sender in rules.senders):
        return ""
    return (
        f"nobody may send from {address}. If somebody may, add it to the addresses of its [[sender]], "
        "[[archive]] or [[destination]] in peers.toml."
    )


def called_problem(called_ae_title: str, rules: SenderRules) -> str | None:
    """Says why the called AE title is not ours, or None if it is or nobody asks."""
    called = called_ae_title.strip()
    ours = (rules.ae_title, *rules.also_called)
    if not rules.check_called_ae_title or called in ours:
        return None
    known = " or ".join(f'"{title}"' for title in ours)
    return (
        f'called AE title is "{called}", ours is {known}. Correct it at the sender, or in agent.toml '
        "add it to device.also_called or set check_called_ae_title = false."
    )


def calling_problem(
    calling_ae_title: str, address: str, rules: SenderRules, shown: ShownCertificate | None = None
) -> str | None:
    """Says why a calling AE title at an address may not send to us, or None if it may.

    Args:
        shown: its certificate, believed by then; None if it has shown none.
    """
    calling = calling_ae_title.strip()
    known = [sender for sender in rules.senders if sender.ae_title == calling]
    if not known:
        if rules.accept_any_sender:
            return None
        return (
            f'calling AE title "{calling}" is not known here. If it may send, add a [[sender]] in peers.toml.'
        )
    here = [sender for sender in known if comes_from(address, sender.addresses)]
    if not here:
        return (
            f'"{calling}" may not send from {address}. If it may, add that to its [[sender]] in peers.toml.'
        )
    if any(_is_the_one(sender, shown) for sender in here):
        return None
    told = f"one of {', '.join(shown.names)}, sha256 {shown.sha256}" if shown else "none"
    return (
        f'"{calling}" must show another certificate; it has shown {told}. If that is right, '
        "correct certificate_subject or certificate_sha256 of its [[sender]] in peers.toml."
    )


def _is_the_one(sender: Sender, shown: ShownCertificate | None) -> bool:
    names, sha256 = (shown.names, shown.sha256) if shown else ((), "")
    return (not sender.certificate_subject or sender.certificate_subject in names) and (
        not sender.certificate_sha256 or sha256 in sender.certificate_sha256
    )


def comes_from(address: str, networks: Sequence[str]) -> bool:
    """Says whether an IP address lies in one of the networks (CIDR); in none listed, any does."""
    if not networks:
        return True
    place = _plain(address)
    return any(place in ip_network(network, strict=False) for network in networks)


def _plain(address: str) -> IPv4Address | IPv6Address:
    # A socket that listens on "::" shows IPv4 senders as ::ffff:192.0.2.7; the rules say 192.0.2.7.
    place = ip_address(address.partition("%")[0])
    if isinstance(place, IPv6Address) and place.ipv4_mapped is not None:
        return place.ipv4_mapped
    return place
