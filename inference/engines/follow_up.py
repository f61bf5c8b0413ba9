"""What a question after the report brought, in every engine's words for it: an impression, a differential diagnosis."""

from dataclasses import dataclass

from inference.reading import Turn


@dataclass(frozen=True, slots=True)
class FollowUp:
    """The answer to a question that follows the report.

    Attributes:
        text: without the conversation's structure; None if it was not asked or the model gave none.
        turns: the turn that told it, or none.
        problems: what was wrong with it.
    """

    text: str | None = None
    turns: tuple[Turn, ...] = ()
    problems: tuple[str, ...] = ()
