"""Which tasks a folder of weights was trained for."""

from collections.abc import Set
from pathlib import Path

from inference.engines.stored import json_object
from inference.question import Task


def trained_tasks(folder: Path, published: Set[Task]) -> frozenset[Task]:
    """Reads the list "tasks" of model_card.json: weights that were trained anew may know less than the published.

    Args:
        published: what the published weights of this architecture were trained for; holds where no list is.

    Raises:
        ValueError: if the list names something that this engine has no question for.
    """
    path = folder / "model_card.json"
    listed = json_object(path).get("tasks") if path.is_file() else None
    if listed is None:
        return frozenset(published)
    if not isinstance(listed, list) or not all(task in list(published) for task in listed):
        expected = ", ".join(sorted(published)) or "nothing"
        raise ValueError(f'{path}: "tasks" is {listed!r}, expected a list of these: {expected}')
    return frozenset(map(Task, listed))
