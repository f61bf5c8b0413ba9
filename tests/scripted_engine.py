"""An engine that says what it is told to: stands for the model where a test is about everything around it."""

from collections.abc import Callable, Sequence

from inference.case import Case
from inference.question import Answer, Place, Question, Task, check_question, image_of
from inference.reading import Box, EngineIdentity, Finding, Reading, Status, Turn

IDENTITY = EngineIdentity("scripted", "1", "a scripted engine for tests", "sha256:" + "0" * 64, is_demo=True)


def an_effusion(case: Case) -> Reading:
    """One finding with one box in the lower left quarter of the first current image, after a look at every image."""
    image = case.current.images[0]
    earlier = (one.key for prior in case.priors for one in prior.images)
    box = Box(image.key, image.columns * 0.1, image.rows * 0.6, image.columns * 0.4, image.rows * 0.9)
    looked_at = (*earlier, *(one.key for one in case.current.images))
    turn = Turn("findings", looked_at, "Which findings? <image>", "pleural effusion.", 0.1, 10, 3)
    return Reading(
        findings=(Finding("pleural effusion", Status.PRESENT, side="right", boxes=(box,)),),
        report="There is a small right pleural effusion.",
        turns=(turn,),
        engine=IDENTITY,
        compared_with_prior=bool(case.priors),
    )


class ScriptedEngine:
    """Answers each case with `script(case)`, which may also raise; remembers the cases it saw and how many at once."""

    def __init__(self, script: Callable[[Case], Reading] = an_effusion) -> None:
        self.identity = IDENTITY
        self.tasks = frozenset({Task.FINDING})
        self.is_exact_at_once = True
        self.is_on_card = False
        self.script = script
        self.cases: list[Case] = []
        self.batches: list[int] = []

    def read(self, case: Case) -> Reading:
        self.cases.append(case)
        return self.script(case)

    def ask(self, case: Case, question: Question) -> Answer:
        """Says that the finding asked for is where `an_effusion` sees one."""
        check_question(question, self.tasks, self.identity.model_name)
        image, problems = image_of(case, question)
        (finding,) = an_effusion(case).findings
        turn = Turn(question.task, (image.key,), f"Where is {question.text}? <image>", "There.", 0.1, 10, 2)
        places = (Place(question.text, finding.boxes),)
        return Answer(question.task, "There.", places, (turn,), self.identity, problems)

    def read_many(self, cases: Sequence[Case]) -> list[Reading]:
        self.batches.append(len(cases))
        return [self.read(case) for case in cases]

    def close(self) -> None:
        return None


def open_scripted(**settings: object) -> ScriptedEngine:
    """What `reading.toml` may name as an engine of the site: "tests.scripted_engine:open_scripted"."""
    return ScriptedEngine()


def open_on_card(**settings: object) -> ScriptedEngine:
    """The same, as if it computed on a card: two workers use it."""
    engine = ScriptedEngine()
    engine.is_on_card = True
    return engine
