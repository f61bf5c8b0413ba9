"""Rules that are right one by one and wrong together, or beside the other files."""

from collections.abc import Iterator, Sequence

from config.agent_settings import DeviceSettings, ListenerSettings
from config.conditions import OneOf, When
from config.peers_settings import DestinationSettings
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
    """Finds rules that stand after one that fits all of their studies."""
    for at, (number, rule) in enumerate(rules):
        always = next((one.name for _, one in rules[:at] if one.when == When()), None)
        if always is not None:
            earlier = f"a place before rule {quoted(always)}, which fits every study"
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
    for number, rule in rules:
        for title in _called_titles(rule):
            if title.lower() not in [one.lower() for one in ours]:
                yield Problem(READING_FILE, f"rule[{number}].when", quoted(title), known)


def _called_titles(rule: RuleSettings) -> Iterator[str]:
    for test in rule.when.every_test():
        if test.fact == "called_ae_title" and isinstance(test.wanted, OneOf):
            yield from (str(title).strip() for title in test.wanted.values)


def _are(names: Sequence[str]) -> str:
    return f"are {', '.join(names)}" if names else "are none"
