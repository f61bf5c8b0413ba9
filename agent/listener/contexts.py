"""The presentation contexts that we accept: our SOP Classes, in each encoding that can be kept as it is."""

from collections.abc import Sequence

from pynetdicom.presentation import PresentationContext, build_context

from agent.admission import SOP_CLASSES
from agent.listener.dataset import EXPLICIT_VR_BIG_ENDIAN

VERIFICATION = "1.2.840.10008.1.1"

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


UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", EXPLICIT_VR_BIG_ENDIAN)


def answer(proposed: Sequence[PresentationContext]) -> list[PresentationContext]:
    """Gives what we support of a proposal: our SOP Classes, their transfer syntaxes in the sender's order.

    The order decides which one of a context is accepted, and PS3.8 leaves it to us. A sender that names a
    compressed one first has the image that way, and may not be able to convert it. Only Big Endian goes
    behind: it is retired, and no image is kept that way.

    Only what is proposed is built, since every association pays for it.
    """
    wanted: dict[str, list[str]] = {}
    for context in proposed:
        abstract_syntax = str(context.abstract_syntax)
        ours = UNCOMPRESSED if abstract_syntax == VERIFICATION else TRANSFER_SYNTAXES
        if abstract_syntax == VERIFICATION or abstract_syntax in SOP_CLASSES:
            syntaxes = wanted.setdefault(abstract_syntax, [])
            syntaxes += [
                str(syntax) for syntax in context.transfer_syntax if syntax in ours and syntax not in syntaxes
            ]
    for syntaxes in wanted.values():
        syntaxes.sort(key=lambda syntax: syntax == EXPLICIT_VR_BIG_ENDIAN)
    return [
        build_context(abstract_syntax, syntaxes) for abstract_syntax, syntaxes in wanted.items() if syntaxes
    ]
