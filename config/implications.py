"""Whether conditions plainly follow from others, so that a rule behind another one is never asked.

Only what can be seen side by side: a value that stands in the other list, a range inside the other one. What is not
seen here costs nothing but that a rule which is never asked is not told.
"""

from config.conditions import Matches, OneOf, Present, Test, Value, When, Within


def follows(wide: When, narrow: When) -> bool:
    """Does `wide` plainly hold wherever `narrow` does? No conditions hold always."""
    return (
        _tests_follow(wide, narrow)
        and set(wide.all) <= set(narrow.all)
        and (not wide.any or _one_of_follows(wide.any, narrow))
        and wide.none in (None, narrow.none)
    )


def _tests_follow(wide: When, narrow: When) -> bool:
    return all(any(_test_follows(test, one) for one in narrow.tests) for test in wide.tests)


def _one_of_follows(groups: tuple[When, ...], narrow: When) -> bool:
    is_part = bool(narrow.any) and set(narrow.any) <= set(groups)
    return is_part or any(group == When(group.tests) and _tests_follow(group, narrow) for group in groups)


def _test_follows(wide: Test, narrow: Test) -> bool:
    if wide.fact != narrow.fact:
        return False
    match wide.wanted, narrow.wanted:
        case Present(is_wanted), Present(is_wanted_too):
            return is_wanted is is_wanted_too
        case Present(is_wanted), _:
            return is_wanted  # nothing else holds for what was not sent
        case OneOf(values), OneOf(fewer):
            return set(map(_plain, fewer)) <= set(map(_plain, values))
        case Matches() as pattern, OneOf(values):
            return all(pattern.fits(str(value).strip()) for value in values)
        case Within() as range_, OneOf(values):
            return wide.kind != "time" and all(_lies_in(range_, value, value) for value in values)
        case Within() as range_, Within(least, most):
            return range_ == narrow.wanted or (wide.kind != "time" and _lies_in(range_, least, most))
    return wide.wanted == narrow.wanted


def _lies_in(wide: Within, least: Value | None, most: Value | None) -> bool:
    # Both are of one kind, numbers or dates, see config.conditions.
    is_above = wide.least is None or (least is not None and wide.least <= least)  # type: ignore[operator]
    is_below = wide.most is None or (most is not None and most <= wide.most)  # type: ignore[operator]
    return is_above and is_below


def _plain(value: Value) -> Value:
    return value.strip().lower() if isinstance(value, str) else value
