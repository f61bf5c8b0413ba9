"""What every engine holds while it is open: its model with each adapter, and what that has seen of images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from inference.case import Case
from inference.engines.opening import Opened, free_memory
from inference.engines.talk import Conversation, together
from inference.engines.vision_rows import VisionRows
from inference.reading import EngineIdentity

Respondent = TypeVar("Respondent")
Result = TypeVar("Result")


class Ready(Generic[Respondent]):
    """A model until it is closed.

    Args:
        opened: its respondent is a dataclass with the fields `model` and `vision_rows`.
        vision_rows: kept apart for each adapter, as `kept_rows` gives them.
    """

    def __init__(self, opened: Opened[Respondent], vision_rows: Mapping[str | None, VisionRows]) -> None:
        self._opened: Opened[Respondent] | None = opened
        self._vision_rows = vision_rows

    def use(self, adapter: str | None, work: Callable[[Respondent, EngineIdentity], Result]) -> Result:
        """Does some work with the model, as `Opened.use`.

        Raises:
            RuntimeError: if it is closed.
        """
        if self._opened is None:
            raise RuntimeError("the engine is closed")

        def seeing(respondent: Any, identity: EngineIdentity) -> Result:
            return work(replace(respondent, vision_rows=self._vision_rows[adapter]), identity)

        return self._opened.use(adapter, seeing)

    def converse(
        self,
        cases: Sequence[Case],
        begin: Callable[[Respondent, EngineIdentity, Case], Conversation[Result]],
    ) -> list[Result]:
        """Carries on a conversation about each case, all of an adapter at once; gives what comes of them case by case.

        Args:
            begin: begins the one about a case.
        """
        results: dict[int, Result] = {}
        for adapter in dict.fromkeys(case.adapter for case in cases):
            places = [place for place, case in enumerate(cases) if case.adapter == adapter]
            chosen = [cases[place] for place in places]

            def work(
                respondent: Any, identity: EngineIdentity, chosen: Sequence[Case] = chosen
            ) -> list[Result]:
                return together(respondent.model, [begin(respondent, identity, case) for case in chosen])

            results |= zip(places, self.use(adapter, work), strict=True)
        return [results[place] for place in range(len(cases))]

    def close(self) -> None:
        """Gives the memory back."""
        self._opened = None
        free_memory()
