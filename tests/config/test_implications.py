"""What plainly follows does follow: asked of the judge that decides on real studies."""

from hypothesis import assume, given
from hypothesis import strategies as st

from agent.rules import judge
from config.conditions import Matches, OneOf, Present, Value, When, Within
from config.conditions import Test as Condition
from config.implications import follows

_NUMBERS = st.integers(0, 3)
_TEXTS = st.sampled_from(["a", "B", "ab", " b "])


def _wanted(values: st.SearchStrategy[Value]) -> st.SearchStrategy[OneOf | Present]:
    lists = st.lists(values, min_size=1, max_size=2).map(tuple)
    return lists.map(OneOf) | st.booleans().map(Present)


_PATTERNS = st.sampled_from(["a*", "?", "*B", "x"]).map(Matches)
_RANGES = st.builds(Within, st.none() | _NUMBERS, st.none() | _NUMBERS)
_TESTS = st.builds(
    Condition, st.just("StationName"), st.just("text"), _wanted(_TEXTS) | _PATTERNS
) | st.builds(Condition, st.just("KVP"), st.just("number"), _wanted(_NUMBERS) | _RANGES)
_PLAIN = st.builds(When, st.lists(_TESTS, max_size=2).map(tuple))
_GROUPS = st.lists(_PLAIN, max_size=2).map(tuple)
_CONDITIONS = st.builds(When, st.lists(_TESTS, max_size=2).map(tuple), _GROUPS, _GROUPS, st.none() | _PLAIN)
_FACTS = st.fixed_dictionaries(
    {
        "StationName": st.lists(_TEXTS, max_size=2).map(tuple),
        "KVP": st.lists(_NUMBERS, max_size=2).map(tuple),
    }
)


@given(_CONDITIONS, _CONDITIONS, _FACTS, st.booleans())
def test_no_study_fits_conditions_and_not_those_that_follow_from_them(
    wide: When, narrow: When, facts: dict[str, tuple[Value, ...]], is_narrowed: bool
):
    if is_narrowed:  # two by chance seldom have to do with one another
        narrow = When(
            (*wide.tests, *narrow.tests), (*wide.all, *narrow.all), wide.any or narrow.any, wide.none
        )
        assert follows(wide, narrow)
    assume(follows(wide, narrow))

    assert judge(wide, facts)[0] or not judge(narrow, facts)[0]


@given(_TESTS, _TESTS, _FACTS)
def test_no_study_meets_a_test_and_not_one_that_follows_from_it(
    wide: Condition, narrow: Condition, facts: dict[str, tuple[Value, ...]]
):
    assume(wide.fact == narrow.fact)
    assume(follows(When((wide,)), When((narrow,))))

    assert judge(When((wide,)), facts)[0] or not judge(When((narrow,)), facts)[0]
