"""KL.md lists what is registered."""

from tests.kl_table import PATH, table


def test_the_table_is_current():
    assert PATH.read_text() == table(), "run `python -m tests.kl_table`"


def test_the_table_tells_finite_from_infinite():
    row = next(line for line in table().splitlines() if line.startswith("| Normal |"))
    _, _, finite, infinite, _ = row.split("|")
    assert "StudentT" in finite
    assert "Gamma" in infinite
    assert "Gamma" not in finite
