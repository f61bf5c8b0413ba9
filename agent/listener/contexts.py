"""The presentation contexts that we accept: our SOP Classes, in each encoding that can be kept as it is."""

from collections.abc import Sequence

from pynetdicom.presentation import PresentationContext, build_context

from agent.admission import SOP_CLASSES, TRANSFER_SYNTAXES
from agent.listener.dataset import EXPLICIT_VR_BIG_ENDIAN
from agent.peers import STORAGE_COMMITMENT

VERIFICATION = "1.2.840.10008.1.1"

UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", EXPLICIT_VR_BIG_ENDIAN)


def answer(
    proposed: Sequence[PresentationContext], *, takes_commitments: bool = False
) -> list[PresentationContext]:
    """Gives what we support of a proposal: our SOP Classes, their transfer syntaxes in the sender's order.

    Args:
        takes_commitments: also Storage Commitment, where a destination reports on an association of its own: we
            are its SCU, whether it says so in a role selection or not (PS3.4 J.3.3, PS3.7 D.3.3.4).

    The order decides which one of a context is accepted, and PS3.8 leaves it to us. A sender that names a
    compressed one first has the image that way, and may not be able to convert it. Only Big Endian goes
    behind: it is retired, and no image is kept that way.

    Only what is proposed is built, since every association pays for it.
    """
    wanted: dict[str, list[str]] = {}
    for context in proposed:
        abstract_syntax = str(context.abstract_syntax)
        is_service = abstract_syntax == VERIFICATION or (
            takes_commitments and abstract_syntax == STORAGE_COMMITMENT
        )
        ours = UNCOMPRESSED if is_service else TRANSFER_SYNTAXES
        if is_service or abstract_syntax in SOP_CLASSES:
            syntaxes = wanted.setdefault(abstract_syntax, [])
            syntaxes += [
                str(syntax) for syntax in context.transfer_syntax if syntax in ours and syntax not in syntaxes
            ]
    for syntaxes in wanted.values():
        syntaxes.sort(key=lambda syntax: syntax == EXPLICIT_VR_BIG_ENDIAN)
    supported = [
        build_context(abstract_syntax, syntaxes) for abstract_syntax, syntaxes in wanted.items() if syntaxes
    ]
    for context in supported:
        if context.abstract_syntax == STORAGE_COMMITMENT:
            context.scu_role = context.scp_role = True
    return supported
