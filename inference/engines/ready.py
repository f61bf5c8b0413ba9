"""An engine that is open: a model with each of its adapters, what that has seen of images, and how it is asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any, Generic, TypeVar

import torch

from inference.case import Case
from inference.engines.opening import Opened, free_memory
from inference.engines.talk import Conversation, together
from inference.engines.vision_rows import VisionRows
from inference.question import Answer, Question, Task, check_question
from inference.reading import EngineIdentity, Reading

Respondent = TypeVar("Respondent")
Result = TypeVar("Result")


class ReadyEngine(Generic[Respondent]):
    """A model until it is closed: the `inference.engine.BatchEngine` of every family here.

    Args:
        opened: its respondent is a dataclass with the fields `model` and `vision_rows`.
        vision_rows: kept apart for each adapter, as `kept_rows` gives them.
        tasks: what the weights were trained for beside the draft.
        begin: begins the conversation that reads a case.
        answer: answers a question about a case, in a conversation of its own.
    """

    def __init__(
        self,
        opened: Opened[Respondent],
        vision_rows: Mapping[str | None, VisionRows],
        tasks: frozenset[Task],
        *,
        begin: Callable[[Respondent, EngineIdentity, Case], Conversation[Reading]],
        answer: Callable[[Respondent, EngineIdentity, Case, Question], Answer],
    ) -> None:
        self.identity = opened.identities[None]
        self.tasks = tasks
        self.is_exact_at_once = opened.place.dtype is torch.float32
        self.is_on_card = opened.place.device != "cpu"
        self._one_at_a_time = Lock()
        self._opened: Opened[Respondent] | None = opened
        self._vision_rows = vision_rows
        self._begin = begin
        self._answer = answer

    def read(self, case: Case) -> Reading:
        """Reads one case.

        Raises:
            ValueError: if the case has no image, its questions do not fit into the model's context, or it names an
                adapter that is not attached.
            OutOfMemory: if there is not enough memory for this case now.
            RuntimeError: if the engine is closed.
        """
        return self.read_many([case])[0]

    def read_many(self, cases: Sequence[Case]) -> list[Reading]:
        """Reads several cases, those with the same adapter at once; in float32 each gets the words that it would get
        alone.

        Whatever `read` raises for one of them is raised for all.
        """
        readings: dict[int, Reading] = {}
        for adapter in dict.fromkeys(case.adapter for case in cases):
            places = [place for place, case in enumerate(cases) if case.adapter == adapter]
            chosen = [cases[place] for place in places]

            def work(
                respondent: Any, identity: EngineIdentity, chosen: Sequence[Case] = chosen
            ) -> list[Reading]:
                return together(
                    respondent.model, [self._begin(respondent, identity, case) for case in chosen]
                )

            readings |= zip(places, self._use(adapter, work), strict=True)
        return [readings[place] for place in range(len(cases))]

    def ask(self, case: Case, question: Question) -> Answer:
        """Answers one question about a case.

        Raises:
            CannotAsk: if the weights were not trained for it, or the question does not fit the case or the model.
            OutOfMemory: if there is not enough memory for it now.
            RuntimeError: if the engine is closed.
        """
        check_question(question, self.tasks, self.identity.model_name)
        return self._use(
            case.adapter, lambda respondent, identity: self._answer(respondent, identity, case, question)
        )

    def close(self) -> None:
        """Gives the memory back."""
        self._opened = None
        free_memory()

    def _use(self, adapter: str | None, work: Callable[[Respondent, EngineIdentity], Result]) -> Result:
        def seeing(respondent: Any, identity: EngineIdentity) -> Result:
            return work(replace(respondent, vision_rows=self._vision_rows[adapter]), identity)

        with self._one_at_a_time:
            if self._opened is None:
                raise RuntimeError("the engine is closed")
            return self._opened.use(adapter, seeing)
