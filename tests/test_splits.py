"""Splits: keys, the pool, and split files, on tables worked out by hand."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpose import splits
from kpose.errors import InputError

PEOPLE = splits.Columns.of(
    id=["1", "2", "3", "1"],
    source=["a", "a", "a", "b"],
    group=["g1", "g1", "g2", "g1"],
    image=["p1", "p2", "p3", "p1"],
    recording=["r1", "r1", "r2", "r1"],
    subject=["s1", "s1", "s1", ""],
    clothing=["c1", "c2", "c1", "c1"],
)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("group", ["a/g1", "a/g1", "a/g2", "b/g1"]),
        ("recording", ["a/r1", "a/r1", "a/r2", "b/r1"]),
        ("clothing", ["a/c1", "a/c2", "a/c1", "b/c1"]),
        ("random_frames", ["a/p1", "a/p2", "a/p3", "b/p1"]),
    ],
)
def test_keys_have_the_source_in_them(by, expected):
    assert splits.keys(by, PEOPLE).tolist() == expected


def test_photographs_are_split_by_image():
    columns = splits.Columns.of(
        id=["1", "2"], source=["a", "a"], group=["g", "g"], image=["p", "q"]
    )
    assert splits.keys("image", columns).tolist() == ["a/p", "a/q"]


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("subject", "b 1 has none (1 of 4 have none)"),
        ("image", "a 1 is a frame of the recording r1"),
        ("image", "asked for by its name, random_frames"),
        ("frame", "Received: 'frame'"),
    ],
)
def test_a_split_that_cannot_be_says_why(by, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        splits.keys(by, PEOPLE)

    assert "\n" not in str(error.value)


def test_columns_are_equally_long():
    with pytest.raises(InputError, match="'group': 2"):
        splits.Columns.of(id=["1"], source=["a"], group=["g", "h"], image=["p"])


# ------------------------------------------------------------------------------ draw


def drawn(names, full, eligible=None, persons=1, seed=0):
    everybody = np.ones(len(names), bool) if eligible is None else np.array(eligible)
    return splits.draw(
        np.array(names), np.array(full, bool), everybody, persons, seed
    ).tolist()


def test_partly_annotated_persons_of_a_drawn_key_are_left_out():
    # Only key a has a full person, so it is drawn whatever the seed.
    assert drawn(["a", "b", "a", "b"], [1, 0, 0, 0]) == [
        "val",
        "train",
        "left_out",
        "train",
    ]


def test_persons_of_the_test_split_are_neither_drawn_nor_counted():
    names, full = ["a", "a", "b", "c"], [1, 1, 1, 0]
    eligible = [True, False, False, True]

    assert drawn(names, full, eligible) == ["val", "test", "test", "train"]
    with pytest.raises(InputError, match="only 1 of the 2 who may be drawn are"):
        drawn(names, full, eligible, persons=2)


def test_no_more_keys_are_drawn_than_needed():
    # Pairs: 3 persons need two keys, which have 4.
    names = [str(row // 2) for row in range(40)]
    for persons, expected in ((1, 2), (2, 2), (3, 4), (4, 4), (38, 38)):
        found = drawn(names, np.ones(40), persons=persons)
        assert found.count("val") == expected


@pytest.mark.parametrize(
    ("persons", "message"),
    [
        (0, "must hold out somebody. Received: 0"),
        (4, "hold out 4 fully annotated persons, but only 3 of the 4 who may be"),
        (3, "leave somebody to train on"),
    ],
)
def test_a_pool_that_is_too_small_says_its_numbers(persons, message):
    with pytest.raises(InputError, match=message) as error:
        drawn(["a", "b", "b", "b"], [1, 1, 1, 0], persons=persons)

    assert "\n" not in str(error.value)


def as_training_did(keys, full, persons, seed):
    """The loop of ``training.split``, before it could call ``draw``."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    held_out, count = [], 0
    for group in generator.permutation(np.unique(keys[full])):
        if count >= persons:
            break
        held_out.append(group)
        count += int((keys[full] == group).sum())
    in_group = np.isin(keys, held_out)
    return in_group & full, ~in_group


PERSONS = st.lists(
    st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=60
)


@given(people=PERSONS, persons=st.integers(1, 20), seed=st.integers(0, 2**63))
def test_the_draw_is_that_of_old_trainings_and_leaves_no_key_on_both_sides(
    people, persons, seed
):
    keys = np.array([f"set/{number}" for number, _ in people])
    full = np.array([is_full for _, is_full in people])
    everybody = np.ones(len(people), bool)
    try:
        found = splits.draw(keys, full, everybody, persons, seed)
    except InputError:
        val, train = as_training_did(keys, full, persons, seed)
        assert full.sum() < persons or not train.any()
        return
    val, train = as_training_did(keys, full, persons, seed)

    assert ((found == "val") == val).all() and ((found == "train") == train).all()
    assert val.sum() >= persons
    assert not set(keys[found == "train"]) & set(keys[found != "train"])


@given(people=PERSONS, seed=st.integers(0, 99), order=st.randoms())
def test_the_order_of_the_records_does_not_matter(people, seed, order):
    keys = np.array([f"set/{number}" for number, _ in people])
    full = np.array([is_full for _, is_full in people])
    everybody = np.ones(len(people), bool)
    rows = list(range(len(people)))
    order.shuffle(rows)
    try:
        found = splits.draw(keys, full, everybody, 1, seed)
    except InputError:
        return

    other = splits.draw(keys[rows], full[rows], everybody, 1, seed)

    assert other.tolist() == found[rows].tolist()


def test_the_seed_decides_who_is_drawn():
    names = [str(row) for row in range(100)]
    a, b, c = (drawn(names, np.ones(100), persons=10, seed=s) for s in (1, 1, 2))
    assert a == b != c


def test_names_on_both_sides_are_found():
    found = splits.shared(
        np.array(["train", "val", "train", "test", "left_out", "train", "val"]),
        np.array(["r1", "r1", "r2", "r2", "r3", "r3", ""]),
    )
    assert found == ["r1", "r2"]


# ------------------------------------------------------------------------ split files


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "who.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "recording,split,source\nr1,val,a\nr2,train,a\nr1,test,b\n",
            ["val", "val", "train", "test"],
        ),
        ("clothing,split\nc2,val\n", ["left_out", "val", "left_out", "left_out"]),
        (
            'id,split,source\r\n"1",val, a\r\n\r\n1,val,a\r\n1,train,b\r\n',
            ["val", "left_out", "left_out", "train"],
        ),
        ("group,split\ng2,train\n", ["left_out", "left_out", "train", "left_out"]),
        ("image,split\np2,test\n", ["left_out", "test", "left_out", "left_out"]),
        (
            "subject,split,source\ns1,test,a\n",
            ["test", "test", "test", "left_out"],
        ),
    ],
    ids=["recording", "clothing", "id", "group", "image", "subject"],
)
def test_a_file_says_who_is_where(tmp_path, text, expected):
    file = splits.read_file(write(tmp_path, text))

    assert file.assign(PEOPLE).tolist() == expected


def test_a_byte_order_mark_is_read_over(tmp_path):
    file = splits.read_file(write(tmp_path, "group,split\ng2,val\n", "utf-8-sig"))

    assert (file.key, file.counts()) == ("group", {"val": 1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1 must be a header such as id,split"),
        ("split,id\nval,1\n", "Received: 'split,id'"),
        ("id;split\n1;val\n", "Received: 'id;split'"),
        ("id,split,set\n1,val,a\n", "Received: 'id,split,set'"),
        ("id,split\n", "must have a row after its header"),
        ("id,split\n1,val\n2,valid\n", ":3 must have a split of train, val, test"),
        ("id,split\n1,val\n\n1,train\n", ":4 must put '1' into one split.* line 2 val"),
        ("id,split\n1\n", ":2 must have 2 fields"),
        ("id,split\n ,val\n", ":2 must have 2 fields that are not empty"),
        ("id,split,source\n1,val\n", ":2 must have 3 fields"),
        ("id,split,source\n1,val,\n", ":2 must have 3 fields"),
        ('id,split\n"1,val\n', "must be a row of a CSV file"),
    ],
)
def test_files_that_cannot_be_read_name_file_and_line(tmp_path, text, message):
    path = write(tmp_path, text)

    with pytest.raises(InputError, match=message) as error:
        splits.read_file(path)

    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_files_that_are_absent_or_no_text_are_named(tmp_path):
    with pytest.raises(InputError, match=r"expected a split file .*absent\.csv"):
        splits.read_file(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="must be a readable split file"):
        splits.read_file(tmp_path)
    path = write(tmp_path, "id,split\n1,val\nJürgen,val\n", "latin-1")
    with pytest.raises(InputError, match=r"who\.csv:3 must be UTF-8"):
        splits.read_file(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id,split,source\n1,val,a\n7,val,a\n1,val,c\n",
            r"2 of 3 name nobody: a/7 \(line 3\), c/1 \(line 4\)",
        ),
        (
            "group,split\ng2,val\n" + "".join(f"x{n},val\n" for n in range(6)),
            r"6 of 7 name nobody: x0 \(line 3\).*x4 \(line 7\), \.\.\.$",
        ),
        (
            "group,split\ng2,val\ng1,val\n",
            ":3 must name one group, but 'g1' is in a, b",
        ),
    ],
    ids=["nobody", "many", "two sources"],
)
def test_rows_that_fit_nobody_or_two_sources_are_refused(tmp_path, text, message):
    file = splits.read_file(write(tmp_path, text))

    with pytest.raises(InputError, match=message) as error:
        file.assign(PEOPLE)

    assert str(error.value).startswith(str(file.path))
    assert "\n" not in str(error.value)


def held_out(recordings, persons=2, full=None, first=None, eligible=None):
    """hold_out of as many crops as there are recordings, one group each."""
    count = len(recordings)
    recordings = np.array(recordings)
    groups = np.where(recordings == "", np.arange(count).astype(str), recordings)
    everybody = np.ones(count, bool)
    return splits.hold_out(
        np.full(count, "a"),
        groups,
        recordings,
        everybody if full is None else np.array(full),
        everybody if first is None else np.array(first),
        everybody if eligible is None else np.array(eligible),
        persons,
        seed=0,
    ).tolist()


def test_of_one_recording_the_end_is_held_out():
    assert held_out(["r"] * 20) == ["train"] * 18 + ["val"] * 2


def test_of_few_recordings_the_end_of_each_is_held_out():
    # Drawn, one of the two would be: half of all persons.
    assert held_out(["r"] * 10 + ["s"] * 10) == (["train"] * 9 + ["val"]) * 2


def test_of_three_recordings_one_is_held_out():
    split = held_out(["r"] * 5 + ["s"] * 5 + ["t"] * 5, persons=15)

    # Asked for are all; a fifth, three of fifteen, is what recordings give.
    assert sorted(split[start] for start in (0, 5, 10)) == ["train", "train", "val"]
    assert split.count("val") == 5


def test_of_many_recordings_a_whole_one_is_held_out():
    recordings = [name for name in "abcdef" for _ in range(3)]

    split = held_out(recordings)

    held = {r for r, s in zip(recordings, split, strict=True) if s == "val"}
    assert split.count("val") == 3
    assert len(held) == 1


def test_photographs_are_drawn_however_few_they_are():
    assert held_out([""] * 4).count("val") == 2


def test_photographs_without_anybody_to_draw_are_refused():
    with pytest.raises(InputError, match="must hold out 2 fully annotated persons"):
        held_out([""] * 4, full=[True, False, False, False])


def test_the_second_crop_of_a_held_out_person_is_left_out():
    first = [True, True, True, False]

    assert held_out(["r"] * 4, first=first) == ["train", "train", "val", "left_out"]


def test_the_test_recording_stays_the_test():
    eligible = [True] * 10 + [False] * 3

    assert held_out(["r"] * 10 + ["t"] * 3, eligible=eligible) == (
        ["train"] * 9 + ["val"] + ["test"] * 3
    )
