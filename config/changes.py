"""What differs between two configurations, in words, and how much of it a running service can take. Pure."""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from config.contradictions import contradictions
from config.effective import toml_of, toml_value
from config.problems import AGENT_FILE, PEERS_FILE, READING_FILE, ConfigError
from config.readable import readable
from config.settings import Settings
from config.wording import quoted


def differences(old: Settings, new: Settings) -> tuple[str, ...]:
    """Names every value that differs: 'peers.toml destination "archive" port: 104 → 11112'.

    A [[table]] is known again by its first key (name, AE title, finding), wherever it stands.
    """
    pairs = (
        (AGENT_FILE, old.agent, new.agent),
        (PEERS_FILE, old.peers, new.peers),
        (READING_FILE, old.reading, new.reading),
    )
    return tuple(
        f"{file} {words}"
        for file, before, after in pairs
        for words in _in_table("", tomllib.loads(toml_of(before)), tomllib.loads(toml_of(after)))
    )


def _in_table(place: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys((*old, *new)):
        here = f"{place} {key}".lstrip()
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if key == "when":  # the conditions of a rule: one thought, and lists in them have no names
            yield f"{here}: {toml_value(before)} → {toml_value(after)}"
        elif _are_tables(before) or _are_tables(after):
            yield from _in_tables(here, before or [], after or [])
        elif isinstance(before, dict) and isinstance(after, dict) and not _is_secret_place(before, after):
            yield from _in_table(here, before, after)
        else:
            yield f"{here}: {_shown(before)} → {_shown(after)}"


def _in_tables(place: str, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> Iterator[str]:
    before, after = _by_name(old), _by_name(new)
    for name in dict.fromkeys((*before, *after)):
        here = f"{place} {quoted(name)}"
        if name not in after:
            yield f"{here}: taken away"
        elif name not in before:
            yield f"{here}: added"
        else:
            yield from _in_table(here, before[name], after[name])
    stayed = [name for name in before if name in after]
    if stayed != [name for name in after if name in before]:
        yield f"{place}: in another order, {', '.join(map(quoted, after))}"


def _by_name(tables: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(next(iter(table.values()))): table for table in tables}


def _are_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _is_secret_place(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return all(set(one) <= {"env", "file"} for one in (old, new))


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a table" if not _is_secret_place(value, value) else _inline(value)
    return toml_value(tuple(value) if isinstance(value, list) else value)


def _inline(table: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(f"{key} = {_shown(value)}" for key, value in table.items()) + " }"


def in_force(running: Settings, new: Settings) -> Settings:
    """What a running service has after a reload: the new settings, but for those that it can only take at its start.

    These are the ports and their limits, where state lies, our own AE titles, how often the clock ticks, where the
    log goes, and whose child the reader is. `differences(in_force(…), new)` is what waits for a restart.

    Raises:
        ConfigError: if the new settings and the old ports do not go together, such as a port that is still open
            to the network and nobody listed who may send.
    """
    old, agent = running.agent, new.agent
    held = agent.model_copy(
        update={
            "device": agent.device.model_copy(
                update={"ae_title": old.device.ae_title, "also_called": old.device.also_called}
            ),
            "listener": old.listener,
            "hl7": old.hl7,
            "metrics": old.metrics,
            "storage": old.storage,
            "worker": agent.worker.model_copy(
                update={"tick_seconds": old.worker.tick_seconds, "poll_seconds": old.worker.poll_seconds}
            ),
            "log": old.log.model_copy(update={"level": agent.log.level}),
        }
    )
    reader = new.reading.reader.model_copy(
        update={"child": running.reading.reader.child, "nice": running.reading.reader.nice}
    )
    reading = new.reading.model_copy(update={"reader": reader})
    merged = new.model_copy(update={"agent": held, "reading": reading})
    files = {AGENT_FILE: merged.agent, PEERS_FILE: merged.peers, READING_FILE: merged.reading}
    found = {place: one for file, values in files.items() for place, one in readable(file, values).items()}
    problems = tuple(contradictions(found))
    if problems:
        raise ConfigError(problems)
    return merged
