"""Who works for whom: the workers that each peer gets, and who may come to our port because we asked. Pure."""

from dataclasses import dataclass

from config.settings import SenderSettings, Settings


@dataclass(frozen=True, slots=True)
class Lane:
    """What one worker leaves to others, see `Worker`. None: it delivers, or asks, nothing."""

    leaves_alone: frozenset[str] | None = None
    leaves_unasked: frozenset[str] | None = None


def delivery_lanes(settings: Settings) -> dict[str, Lane]:
    """One worker for each association a destination may have, so that a slow one holds up nobody else.

    The last lane takes what is left from destinations that are no longer configured, and says so.
    """
    # One for each receiver of messages: the next one must not overtake the one that it replaces.
    lanes_of = {one.name: one.associations_max for one in settings.peers.destinations}
    lanes_of |= {one.name: 1 for one in settings.peers.receivers}
    names = frozenset(lanes_of)
    lanes = {
        f"deliver to {name} {number}": Lane(leaves_alone=names - {name})
        for name, count in lanes_of.items()
        for number in range(1, count + 1)
    }
    return lanes | {"deliver to nobody": Lane(leaves_alone=names)}


def asking_lanes(settings: Settings) -> dict[str, Lane]:
    """One worker for each request that an archive may have at once; the last lane is as with deliveries."""
    names = frozenset(archive.name for archive in settings.peers.archives)
    lanes = {
        f"ask {archive.name} {number}": Lane(leaves_unasked=names - {archive.name})
        for archive in settings.peers.archives
        for number in range(1, archive.associations_max + 1)
    }
    return lanes | {"ask nobody": Lane(leaves_unasked=names)}


def called_back_by(settings: Settings) -> list[SenderSettings]:
    """The archives and destinations as senders: they come to our port with what we had them move, or to report on
    what they took."""
    archives = [
        SenderSettings(
            ae_title=archive.ae_title,
            addresses=archive.addresses,
            assume_charset=archive.assume_charset,
            default_issuer=archive.default_issuer,
        )
        for archive in settings.peers.archives
        if archive.ae_title
    ]
    known = {archive.ae_title for archive in archives}
    return [*archives, *(one for one in reporting(settings) if one.ae_title not in known)]


def reporting(settings: Settings) -> list[SenderSettings]:
    """The destinations that report on what they took, as senders."""
    return [
        SenderSettings(ae_title=one.ae_title, addresses=one.addresses)
        for one in settings.peers.destinations
        if one.commitment
    ]
