"""The places of labels."""

from hypothesis import given
from hypothesis import strategies as st

from agent.outputs.labels import Place, free_place

TOP, BOTTOM, HEIGHT = 0.0, 1000.0, 12.8

heights = st.floats(TOP, BOTTOM - HEIGHT)
wishes = st.builds(
    lambda left, width, top: (left, top, left + width, top + HEIGHT),
    st.floats(0, 500),
    st.floats(1, 300),
    heights,
)


def placed(wished: list[Place], bottom: float = BOTTOM) -> list[Place]:
    taken: list[Place] = []
    for wish in wished:
        taken.append(free_place(wish, taken, TOP, bottom))
    return taken


def do_overlap(one: Place, other: Place) -> bool:
    across = min(one[2], other[2]) - max(one[0], other[0])
    return across > 0.1 and min(one[3], other[3]) - max(one[1], other[1]) > 0.1


def test_a_label_that_covers_no_other_stands_where_it_wished():
    wished = [(0.0, 50.0, 100.0, 60.0), (0.0, 60.0, 100.0, 70.0), (100.0, 50.0, 200.0, 60.0)]

    assert placed(wished) == wished


def test_of_labels_at_one_place_the_later_stand_above():
    wish = (0.0, 50.0, 100.0, 60.0)

    assert [place[1] for place in placed([wish] * 3)] == [50.0, 40.0, 30.0]


def test_under_the_upper_edge_a_label_goes_down():
    wish = (0.0, 5.0, 100.0, 15.0)

    assert [place[1] for place in placed([wish] * 3)] == [5.0, 15.0, 25.0]


def test_where_there_is_no_room_at_all_a_label_covers_another_rather_than_be_missing():
    wish = (0.0, 0.0, 100.0, 10.0)

    assert placed([wish] * 2, bottom=15.0) == [wish] * 2


@given(st.lists(wishes, max_size=20))
def test_no_label_covers_another_or_leaves_the_film(wished: list[Place]):
    places = placed(wished)

    assert all(place[1] >= TOP - 0.1 and place[3] <= BOTTOM + 0.1 for place in places)
    assert not any(
        do_overlap(one, other) for number, one in enumerate(places) for other in places[number + 1 :]
    )
