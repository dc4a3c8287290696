"""The journal of a target's answers: what a killed run repeats itself from."""

import errno

import numpy as np
import pytest

from vikl._files import CheckpointError, save_tree
from vikl.fitting import _journal
from vikl.fitting._journal import Journal, ask

HEADER = {"key": [0, 1], "method": "automatic", "names": ["x"]}


def question(value, dtype: type = np.float32):
    return [np.full((2, 3), value, dtype)]


def answers(value):
    return [np.full(2, value, np.float32), np.full((2, 3), -value, np.float32), np.int32(value)]


def asked(path, values, header=HEADER):
    """Ask for each value; return the journal, and which questions reached the target."""
    journal, live = Journal.open(path, header), []
    for value in values:
        found = journal.ask(question(value), lambda v=value: (live.append(v), answers(v))[1])
        for got, wanted in zip(found, answers(value), strict=True):
            np.testing.assert_array_equal(got, wanted)
            assert got.dtype == wanted.dtype
    return journal, live


def test_without_a_journal_the_target_is_asked():
    assert ask(None, question(1.0), lambda: [7]) == [7]


def test_what_was_answered_is_not_asked_again(tmp_path):
    path = tmp_path / "fit.vikl"
    journal, live = asked(path, [1, 2, 3])
    assert live == [1, 2, 3]
    journal.save()
    journal, live = asked(path, [1, 2, 3])
    assert live == [1]  # the first is compared: is it the same target?
    assert journal.replaying
    journal, live = asked(path, [1, 2, 3, 4])
    assert live == [1, 4]
    assert not journal.replaying


def test_a_run_that_turns_elsewhere_forgets_the_rest(tmp_path):
    path = tmp_path / "fit.vikl"
    asked(path, [1, 2, 3])[0].save()
    journal, live = asked(path, [1, 9, 3])
    assert live == [1, 9, 3]
    journal.save()
    assert asked(path, [1, 9, 3])[1] == [1]


def test_shape_and_dtype_are_part_of_a_question(tmp_path):
    path = tmp_path / "fit.vikl"
    asked(path, [0, 0])[0].save()
    journal = Journal.open(path, HEADER)
    journal.ask(question(0), lambda: answers(0))
    for other in (question(0, np.int32), [np.zeros((3, 2), np.float32)]):
        assert journal.ask(other, lambda: [np.ones(1)])[0] == 1


@pytest.mark.parametrize(
    ("first", "found", "says"),
    [
        (2, 2, "it looks at the target in other places first"),
        (1, 1.5, "the target answers otherwise: other data, or another density"),
    ],
)
def test_another_fits_journal_is_refused(first, found, says, tmp_path):
    path = tmp_path / "fit.vikl"
    asked(path, [1, 2])[0].save()
    before = path.read_bytes()
    journal = Journal.open(path, HEADER)
    with pytest.raises(
        CheckpointError, match=rf"fit\.vikl belongs to another fit: {says}"
    ) as caught:
        journal.ask(question(first), lambda: answers(found))
    assert "Give another path, or remove the file" in str(caught.value)
    assert path.read_bytes() == before


def test_rounding_of_another_machine_is_no_other_target(tmp_path):
    path = tmp_path / "fit.vikl"
    asked(path, [1, 2])[0].save()
    near = [answers(1)[0] * np.float32(1 + 1e-6), *answers(1)[1:]]
    found = Journal.open(path, HEADER).ask(question(1), lambda: near)
    np.testing.assert_array_equal(found[0], answers(1)[0])  # the run goes on as it began


@pytest.mark.parametrize("name", HEADER)
def test_a_journal_of_another_name_is_refused(name, tmp_path):
    path = tmp_path / "fit.vikl"
    asked(path, [1])[0].save()
    with pytest.raises(CheckpointError, match=rf"belongs to another fit: its {name} is"):
        Journal.open(path, HEADER | {name: "other"})


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 10**12}, {"count": -1}, {"count": "x"}, {"numbers": {"<f4": 10**12}},
        {"numbers": {"<f4": -8}}, {"numbers": {"O": 1}}, {"numbers": []}, {"kinds": []},
        {"kinds": [[["<f4", [10**6]]]]}, {"kinds": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_journal_whose_parts_do_not_fit_is_refused(changes, tmp_path):
    path = tmp_path / "fit.vikl"
    journal, _ = asked(path, [1, 2])
    tree, header = _journal._packed(journal.entries, journal.header)
    save_tree(path, tree, header | changes)
    with pytest.raises(CheckpointError, match=r"fit\.vikl"):
        Journal.open(path, HEADER)


def test_a_disk_that_cannot_be_written_is_said_once(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_journal, "save_tree", refuse)
    monkeypatch.setattr(_journal, "_SECONDS", -1.0)
    with pytest.warns(UserWarning, match="the checkpoint could not be written .*No space") as seen:
        journal, live = asked(tmp_path / "fit.vikl", [1, 2, 3])
    assert live == [1, 2, 3]
    assert len(seen) == 1
    assert "No space" in journal.trouble
