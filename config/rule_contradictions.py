"""Rules that are right one by one and wrong together, or beside the other files."""

from collections.abc import Iterator, Sequence

from config.agent_settings import DeviceSettings, ListenerSettings
from config.conditions import Matches, OneOf, Wanted, When
from config.implications import follows
from config.peers_settings import ArchiveSettings, DestinationSettings, SenderSettings
from config.problems import READING_FILE, Problem
from config.readable import Numbered
from config.receiver_settings import ReceiverSettings
from config.rule_settings import AdapterSettings, RuleSettings
from config.wording import quoted


def unknown_adapters(rules: Numbered[RuleSettings], adapters: Sequence[AdapterSettings]) -> Iterator[Problem]:
    """Finds rules that read with an adapter that is not there."""
    names = [one.name for one in adapters]
    for number, rule in rules:
        if rule.adapter and rule.adapter not in names:
            known = f"the name of an [[adapter]]; there {_are(names)}"
            yield Problem(READING_FILE, f"rule[{number}].adapter", quoted(rule.adapter), known)


def never_asked(rules: Numbered[RuleSettings]) -> Iterator[Problem]:
    """Finds rules that stand after one that plainly fits all of their studies."""
    for at, (number, rule) in enumerate(rules):
        first = next((one for _, one in rules[:at] if follows(one.when, rule.when)), None)
        if first is not None:
            these = "every study" if first.when == When() else "every study that this one fits"
            earlier = f"a place before rule {quoted(first.name)}, which fits {these}"
            yield Problem(READING_FILE, f"rule[{number}].name", quoted(rule.name), earlier)


def unknown_destinations(
    rules: Numbered[RuleSettings], *tables: Sequence[DestinationSettings | ReceiverSettings]
) -> Iterator[Problem]:
    """Finds rules that send to somebody who is not there."""
    names = [one.name for ones in tables for one in ones]
    for number, rule in rules:
        for name in rule.destinations:
            if name not in names:
                known = f"a destination or receiver of peers.toml; there {_are(names)}"
                yield Problem(READING_FILE, f"rule[{number}].destinations", quoted(name), known)


def unknown_called_titles(
    rules: Numbered[RuleSettings], device: DeviceSettings, listener: ListenerSettings
) -> Iterator[Problem]:
    """Finds rules for AE titles that nobody can call us by."""
    if not listener.check_called_ae_title:
        return
    ours = (device.ae_title, *device.also_called)
    known = f"an AE title of ours (device.ae_title, device.also_called of agent.toml); there {_are(ours)}"
    yield from _unknown_titles("called_ae_title", rules, ours, known)


def unknown_calling_titles(
    rules: Numbered[RuleSettings],
    accepts_any: bool,
    senders: Sequence[SenderSettings],
    archives: Sequence[ArchiveSettings],
) -> Iterator[Problem]:
    """Finds rules for systems that may not send to us."""
    if accepts_any:
        return
    # What an archive was asked for may belong to a study that is still being sent.
    theirs = [*(one.ae_title for one in senders), *(one.sender for one in archives)]
    known = f"the AE title of a [[sender]] of peers.toml; there {_are([one.ae_title for one in senders])}"
    yield from _unknown_titles("calling_ae_title", rules, theirs, known)


def _unknown_titles(
    fact: str, rules: Numbered[RuleSettings], titles: Sequence[str], known: str
) -> Iterator[Problem]:
    for number, rule in rules:
        for test in rule.when.every_test():
            if test.fact == fact:
                for asked in _unlike(test.wanted, titles):
                    yield Problem(READING_FILE, f"rule[{number}].when", quoted(asked), known)


def _unlike(wanted: Wanted, titles: Sequence[str]) -> Iterator[str]:
    """What is asked for and none of the titles is."""
    match wanted:
        case OneOf(values):
            asked = [str(value).strip() for value in values]
            yield from (one for one in asked if one.lower() not in [title.lower() for title in titles])
        case Matches(pattern) if not any(wanted.fits(title) for title in titles):
            yield pattern


def _are(names: Sequence[str]) -> str:
    return f"are {', '.join(names)}" if names else "are none"
