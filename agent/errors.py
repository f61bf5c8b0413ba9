"""The two verdicts a step may raise; anything else is a bug and is loud."""


class TryLater(Exception):
    """The world is not ready (peer down, disk low, prior not here yet): ask again later.

    Costs no attempt. The stage's patience bounds the whole wait.

    Attributes:
        reason: a sentence for the person on duty: what, with which values, what to do.
        after_seconds: how long to wait before the next try, in seconds.
    """

    def __init__(self, reason: str, after_seconds: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_seconds = after_seconds


class GiveUp(Exception):
    """This case cannot be done, today or tomorrow (no frontal image, two patients in one study).

    Attributes:
        reason: a sentence for the person on duty: what, with which values, what to do.
        is_skip: True if a rule said no (stage `skipped`), False if something is wrong (stage `failed`).
    """

    def __init__(self, reason: str, *, is_skip: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_skip = is_skip
