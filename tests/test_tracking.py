import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpose.geometry import Box
from kpose.tracking import (
    KERNEL,
    MEMORY_MS,
    Sighting,
    Tracker,
    pose_similarity,
    similarity,
)

POSE = np.array([[10.0, 10.0], [50.0, 40.0], [30.0, 90.0]])


def person(x=0.0, y=0.0):
    """Somebody 100 pixels high, moved from where ``POSE`` is."""
    return Sighting(Box(0, 0, 60, 100), POSE).moved(x, y)


def follow(tracker, sightings, time_ms):
    """Number the people of a frame and remember them."""
    ids = tracker.match(sightings, time_ms, set())
    numbers = []
    for sighting, id in zip(sightings, ids, strict=True):
        id = tracker.add(sighting, time_ms) if id is None else id
        tracker.see(id, sighting, time_ms)
        numbers.append(id)
    return numbers


def test_pose_similarity_by_hand():
    """Each joint is off by KERNEL x 100 pixels: exp(-1/2)."""
    assert pose_similarity(person(), person(100 * KERNEL)) == pytest.approx(
        np.exp(-0.5)
    )
    assert pose_similarity(person(), person()) == 1


def test_similarity_is_the_mean_of_boxes_and_poses():
    """Moved by 30 of 60 pixels the boxes overlap by a third."""
    expected = (1 / 3 + np.exp(-((0.3 / KERNEL) ** 2) / 2)) / 2

    assert similarity(person(), person(30)) == pytest.approx(expected)


@given(st.floats(-300, 300), st.floats(-300, 300))
def test_similarity_does_not_depend_on_the_order(x, y):
    value = similarity(person(), person(x, y))

    assert value == pytest.approx(similarity(person(x, y), person()))
    assert 0 <= value <= 1


def test_people_keep_their_numbers_whatever_order_they_come_in():
    tracker = Tracker()
    assert follow(tracker, [person(0), person(200)], 0) == [1, 2]

    assert follow(tracker, [person(204), person(3)], 40) == [2, 1]


def test_the_pairs_are_the_best_ones_together_and_not_one_after_the_other():
    """Both people moved right; the first now stands nearly where the second was."""
    tracker = Tracker()
    follow(tracker, [person(0), person(24)], 0)

    assert follow(tracker, [person(14), person(38)], 40) == [1, 2]


def test_somebody_elsewhere_is_new():
    tracker = Tracker()
    follow(tracker, [person()], 0)

    assert follow(tracker, [person(300)], 40) == [2]


def test_velocity_finds_a_fast_walker_after_a_gap():
    """15 pixels per 40 ms; away for three frames, the boxes no longer overlap."""
    tracker = Tracker()
    for frame in range(20):
        follow(tracker, [person(15 * frame)], 40 * frame)

    assert similarity(person(15 * 19), person(15 * 23)) < 0.1
    assert follow(tracker, [person(15 * 23)], 40 * 23) == [1]


def test_whoever_is_away_for_long_is_somebody_new():
    tracker = Tracker()
    follow(tracker, [person()], 0)

    assert tracker.match([person()], MEMORY_MS, set()) == [1]
    assert tracker.match([person()], MEMORY_MS + 1, set()) == [None]
    assert tracker.forget(MEMORY_MS) == []
    assert tracker.forget(MEMORY_MS + 1) == [1]
    assert tracker.tracks == {}


def test_numbers_that_are_taken_are_not_given_again():
    tracker = Tracker()
    follow(tracker, [person()], 0)

    assert tracker.match([person()], 40, {1}) == [None]


def test_a_number_is_never_used_twice():
    tracker = Tracker()
    follow(tracker, [person()], 0)
    tracker.forget(10_000)

    assert follow(tracker, [person()], 10_000) == [2]


def test_matching_changes_nothing():
    tracker = Tracker()
    follow(tracker, [person()], 0)
    before = dict(tracker.tracks)

    tracker.match([person(5)], 40, set())

    assert tracker.tracks == before
