"""What a destination would take: presentation contexts proposed, and nothing sent on them."""

from collections.abc import Collection
from dataclasses import dataclass

from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel

from agent.peers.association import NoAssociation, associate
from agent.peers.storing import REENCODED
from config.settings import DestinationSettings


@dataclass(frozen=True, slots=True)
class Offer:
    """What a destination accepted of a proposal.

    Attributes:
        accepted: SOP Class UID and Transfer Syntax UID of each presentation context.
        commits: it offers storage commitment, too.
        problem: why there was no association, a sentence, or None.
    """

    accepted: frozenset[tuple[str, str]] = frozenset()
    commits: bool = False
    problem: str | None = None


def offer_of(ae_title: str, destination: DestinationSettings, sop_class_uids: Collection[str]) -> Offer:
    """Proposes SOP Classes to a destination; see `agent.peers.Peers.offer_of`."""
    proposed = [
        build_context(sop_class, syntax)
        for sop_class in (*sop_class_uids, StorageCommitmentPushModel)
        for syntax in REENCODED
    ]
    association = associate(ae_title, destination, proposed)
    if isinstance(association, NoAssociation):
        return Offer(problem=None if association.is_for_good else association.problem)
    accepted = {(str(cx.abstract_syntax), str(cx.transfer_syntax[0])) for cx in association.accepted_contexts}
    association.release()
    storage = frozenset(one for one in accepted if one[0] != StorageCommitmentPushModel)
    return Offer(storage, commits=len(storage) < len(accepted))
