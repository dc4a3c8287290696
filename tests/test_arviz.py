"""The door to ArviZ."""

import sys

import numpy as np
import pytest

from vikl.interop import to_arviz

RNG = np.random.default_rng(0)
DRAWS = {"mu": RNG.normal(size=50), "theta": RNG.normal(size=(50, 8))}
LOG_P, LOG_Q = RNG.normal(size=50), RNG.normal(size=50)


def test_the_tree_has_the_same_numbers():
    pytest.importorskip("arviz_base")
    tree = to_arviz(DRAWS, LOG_P, LOG_Q, verdict="good")
    posterior, stats = tree["posterior"], tree["sample_stats"]
    assert posterior["theta"].dims[:2] == ("chain", "draw")
    np.testing.assert_array_equal(posterior["theta"].values, DRAWS["theta"][None])
    np.testing.assert_array_equal(posterior["mu"].values, DRAWS["mu"][None])
    np.testing.assert_array_equal(stats["lp"].values, LOG_P[None])
    np.testing.assert_array_equal(stats["log_q"].values, LOG_Q[None])
    assert posterior.attrs["inference_library"] == "vikl"
    assert posterior.attrs["verdict"] == "good"
    assert tree.attrs["inference_library"] == "vikl"


@pytest.mark.parametrize("draws", [{}, {"mu": np.zeros(49)}, {"mu": 1.0}])
def test_lengths_are_checked(draws):
    with pytest.raises(
        ValueError, match="should share their first axis, the draws; got the shapes"
    ):
        to_arviz(draws, LOG_P, LOG_Q)


def test_a_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz_base", None)
    with pytest.raises(ImportError, match="arviz_base"):
        to_arviz(DRAWS, LOG_P, LOG_Q)
