"""Who works for whom: the workers that each peer gets, and who may come to our port because we asked. Pure."""

from config.settings import SenderSettings, Settings


def delivery_lanes(settings: Settings) -> list[tuple[str, frozenset[str]]]:
    """One worker for each association a destination may have, so that a slow one holds up nobody else.

    The last lane takes what is left from destinations that are no longer configured, and says so.
    """
    names = frozenset(destination.name for destination in settings.peers.destinations)
    lanes = [
        (f"deliver to {destination.name} {number}", names - {destination.name})
        for destination in settings.peers.destinations
        for number in range(1, destination.associations_max + 1)
    ]
    return [*lanes, ("deliver to nobody", names)]


def asking_lanes(settings: Settings) -> list[tuple[str, frozenset[str]]]:
    """One worker for each request that an archive may have at once; the last lane is as with deliveries."""
    names = frozenset(archive.name for archive in settings.peers.archives)
    lanes = [
        (f"ask {archive.name} {number}", names - {archive.name})
        for archive in settings.peers.archives
        for number in range(1, archive.associations_max + 1)
    ]
    return [*lanes, ("ask nobody", names)]


def called_back_by(settings: Settings) -> list[SenderSettings]:
    """The archives and destinations as senders: they come to our port with what we had them move, or to report on
    what they took."""
    archives = [
        SenderSettings(
            ae_title=archive.ae_title,
            assume_charset=archive.assume_charset,
            default_issuer=archive.default_issuer,
        )
        for archive in settings.peers.archives
        if archive.ae_title
    ]
    known = {archive.ae_title for archive in archives}
    reporting = {one.ae_title for one in settings.peers.destinations if one.commitment} - known
    return [*archives, *(SenderSettings(ae_title=ae_title) for ae_title in sorted(reporting))]
