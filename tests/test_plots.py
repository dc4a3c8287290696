"""Figures: labelled, honest about what is not finite, and no window."""

import subprocess
import sys

import numpy as np
import pytest

from vikl.diagnostics import WeightedDraws
from vikl.plots import marginals_figure, report_figure
from vikl.plots._style import columns, density

pytest.importorskip("matplotlib")
RNG = np.random.default_rng(0)
N = 400
Z = RNG.normal(size=(N, 3))
DRAWS = {"mu": 4 + 3 * Z[:, 0], "theta": Z[:, 1:]}
ELBO = {"step": np.arange(50), "elbo": -np.exp(-np.arange(50.0)), "elbo_std_error": np.ones(50)}


def weighted(log_ratios):
    log_q = -0.5 * (Z**2).sum(1)
    return WeightedDraws(Z, log_q + log_ratios, log_q)


def full_report():
    resampled = {name: v[::-1] for name, v in DRAWS.items()}
    starts = {"elbo": np.array([-1.0, -1.1, np.nan]), "elbo_std_error": np.full(3, 0.1)}
    return report_figure(DRAWS, resampled, ELBO, weighted(RNG.normal(size=N)), starts, "A verdict")


FIGURES = {
    "report": full_report,
    "report, least": lambda: report_figure(
        {"mu": Z[:, 0]}, None, {"elbo": np.zeros(3)}, weighted(np.zeros(N))
    ),
    "marginals": lambda: marginals_figure(DRAWS, {"mu": (4.0, 3.0), "theta[1]": (0.0, 1.0)}),
    "marginals, alone": lambda: marginals_figure({"a": np.zeros(10)}, units={"a": "kg"}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_and_labels_its_axes(name, tmp_path):
    figure = FIGURES[name]()
    path = tmp_path / "figure.png"
    figure.savefig(path, dpi=40)
    assert path.stat().st_size > 2000
    shown = [axes for axes in figure.axes if axes.axison]
    bottom = [axes for axes in shown if any(t.get_text() for t in axes.get_xticklabels())]
    assert bottom
    assert all(axes.get_xlabel() for axes in bottom)


def texts(figure):
    return " ".join(t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_the_report_says_what_to_see():
    words = texts(full_report())
    for word in ("A verdict", "ELBO (nats)", "k-hat", "Pareto-smoothed", "1 failed", "theta[1]"):
        assert word in words


def test_what_is_not_finite_is_said():
    hurt = {"mu": np.where(np.arange(N) < 7, np.nan, Z[:, 0])}
    assert "7 draws not finite" in texts(marginals_figure(hurt))
    log_ratios = np.where(np.arange(N) < 5, np.nan, 0.3 * Z[:, 0])
    history = {"elbo": np.array([np.nan, -2.0, -1.0])}
    words = texts(report_figure(hurt, None, history, weighted(log_ratios)))
    assert "5 draws without a finite weight" in words
    assert "not finite at 1 steps" in words
    everything = report_figure(
        {"mu": np.full(N, np.nan)}, None, {"elbo": np.full(3, np.nan)}, weighted(np.full(N, np.nan))
    )
    assert "400 draws not finite" in texts(everything)


def test_only_the_first_parameters_are_paired():
    many = {"x": RNG.normal(size=(N, 9))}
    figure = report_figure(many, None, ELBO, weighted(np.zeros(N)), num_parameters=3)
    assert len(figure.axes) == 6 + 2
    assert "first 3 of 9" in texts(figure)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: marginals_figure({}), "`named_draws` should hold arrays of one length; got no"),
        (lambda: marginals_figure({"a": 1.0}), r"'a' has shape \(\)"),
        (lambda: columns({"a": np.zeros(3), "b": np.zeros(4)}), r"one length; got \[3, 4\]"),
        (
            lambda: marginals_figure(DRAWS, {"theta": (0.0, 1.0)}),
            r"`reference` should use names of the draws.*got \['theta'\]",
        ),
        (
            lambda: report_figure(DRAWS, {"mu": Z[:, 0]}, ELBO, weighted(np.zeros(N))),
            "`resampled` should have the names of `named_draws`",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_density_is_one():
    sample = RNG.normal(size=5000)
    grid, height = density(sample, (-6.0, 6.0))
    assert height.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-3)
    truth = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
    assert np.abs(height - truth).max() < 0.04


def test_importing_the_room_imports_no_matplotlib_and_figures_no_pyplot():
    code = (
        "import sys, numpy as np, vikl.plots, vikl.diagnostics, vikl.interop; "
        "bad = {'matplotlib', 'arviz_base', 'numpyro', 'scipy.stats'} & set(sys.modules); "
        "assert not bad, bad; "
        "import jax; assert not jax.live_arrays(); "
        "vikl.plots.marginals_figure({'a': np.arange(9.0)}); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
