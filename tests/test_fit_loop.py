"""The stochastic loop: the same bits however it is cut, and an ending in words whatever happens."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import gaussian_parts, small_target

import vikl
from vikl.families import FullRankNormal, MeanFieldNormal, StudentT, mean
from vikl.fitting import StochasticGradient
from vikl.fitting._chunk import ROW_LIMIT, accepted_rows, run_chunk
from vikl.fitting._iterates import Sums, labels
from vikl.fitting._loop import Loop, cell_end
from vikl.objectives import ReverseKL

COMPILES: list[str] = []


def _listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
    del duration_secs, kwargs
    if event.endswith("backend_compile_duration"):
        COMPILES.append(event)


jax.monitoring.register_event_duration_secs_listener(_listen)


def fit(target=None, optimizer=None, **changes):
    """Fit the small target as all of these tests do, so that it is compiled once."""
    arguments = {"key": jax.random.key(0), "num_steps": 200, "progress": False} | changes
    family = arguments.pop("family", MeanFieldNormal)
    optimizer = optax.adam(0.05) if optimizer is None else optimizer
    return vikl.fit(
        small_target() if target is None else target, family, None, optimizer, **arguments
    )


def same(a, b):
    """Whether two fits have the same bits: parameters and record."""
    assert set(a.history) == set(b.history)
    for name, column in a.history.items():
        np.testing.assert_array_equal(column, b.history[name])
    return bool(eqx.tree_equal(a.family, b.family)) and a.elbo == b.elbo


# -- the same bits


def test_the_same_key_gives_the_same_bits_and_another_key_others():
    assert same(fit(), fit())
    assert not eqx.tree_equal(fit().family, fit(key=jax.random.key(1)).family)


def test_chunks_do_not_matter():
    algorithm = StochasticGradient(ReverseKL(), optax.adam(0.05))
    loops = [
        Loop(
            algorithm, small_target(), MeanFieldNormal.init(jnp.zeros(2)), jax.random.key(0),
            num_steps=200, stop_on_plateau=False, chunk_steps=chunk,
        )
        for chunk in (1, 7, 1000)
    ]  # fmt: skip
    runs = [loop.go() for loop in loops]
    for loop, (state, ending, history) in zip(loops[1:], runs[1:], strict=True):
        np.testing.assert_array_equal(loop.run.kept.rows, loops[0].run.kept.rows)
        assert eqx.tree_equal(state, runs[0][0])
        assert ending == runs[0][1]
        for name, column in history.items():
            np.testing.assert_array_equal(column, runs[0][2][name])


def test_a_chunk_is_so_many_single_steps():
    """Its rows too, and where single steps are rejected: here wherever a draw is above 1.5."""
    target = vikl.Target.from_density(
        lambda x: jnp.where(jnp.any(x > 1.5), jnp.nan, -0.5 * jnp.sum(x**2)), jnp.zeros(2)
    )
    algorithm = StochasticGradient(ReverseKL(num_samples=1), optax.adam(0.05))
    key, num = jax.random.key(3), 40
    start = algorithm.init(MeanFieldNormal.init(jnp.zeros(2)))
    sums = Sums.of_none(start.family)
    state, _, record = run_chunk(algorithm, start, sums, target, key, np.asarray(num, np.int32))
    single, rows, step = start, [], eqx.filter_jit(algorithm.step)
    for i in range(num):
        before = int(single.rejected)
        single, info = step(single, target, jax.random.fold_in(key, i))
        accepted = int(single.rejected) == before
        rows.append([*(float(info[name]) for name in ("elbo", "loss")), float(accepted)])
    rows = np.array(rows)
    assert 0 < int(single.rejected) < num / 2
    np.testing.assert_array_equal(np.asarray(record)[:num, -1], rows[:, -1])
    np.testing.assert_allclose(
        accepted_rows([np.asarray(record)[:num]]), rows[rows[:, -1] == 1, :2], rtol=1e-4, atol=1e-5
    )
    assert (int(state.step), int(state.rejected)) == (num, int(single.rejected))
    assert float(state.step_scale) == pytest.approx(float(single.step_scale))
    np.testing.assert_allclose(mean(state.family), mean(single.family), rtol=1e-4, atol=1e-6)


def test_the_sums_over_iterates_are_of_every_sixteenth_step():
    """The parameters after steps 16, 32, ... as single steps give them."""
    algorithm, key = (
        StochasticGradient(ReverseKL(num_samples=1), optax.adam(0.05)),
        jax.random.key(3),
    )
    loop = Loop(
        algorithm, small_target(), MeanFieldNormal.init(jnp.zeros(2)), key,
        num_steps=200, stop_on_plateau=False, chunk_steps=7,
    )  # fmt: skip
    loop.go()
    state, seen, step = (
        algorithm.init(MeanFieldNormal.init(jnp.zeros(2))),
        {},
        eqx.filter_jit(algorithm.step),
    )
    for i in range(200):
        state, _ = step(state, small_target(), jax.random.fold_in(key, i))
        seen[i + 1] = np.r_[state.family.loc, state.family.log_scale].astype(float)
    ends = [0]
    while ends[-1] < 200:
        ends.append(cell_end(ends[-1], 200))
    for row in loop.run.kept.rows:
        first = max(end for end in ends if end < row[0])
        mine = np.stack([seen[i] for i in range(first + 1, int(row[0]) + 1) if i % 16 == 0])
        assert row[1] == len(mine)
        np.testing.assert_allclose(row[2:6], mine.mean(0), atol=1e-5)
        np.testing.assert_allclose(row[6:], mine.var(0), atol=1e-6)
    assert loop.run.kept.rows[-1][0] == 192  # there is no such step after it
    assert loop.run.kept.rows[0][0] > 100  # the first half is forgotten


def test_a_parameter_that_is_one_number_is_watched_too():
    names, units, places = labels(StudentT.init(jnp.zeros(2)))
    assert names == ["loc[0]", "loc[1]", "log_diagonal[0]", "log_diagonal[1]", "log_df"]
    assert list(units) == [0, 1, -1, -1, -1]
    assert list(places) == [0, 1, 2, 3, 4]


def test_a_chunk_ends_where_steps_keep_being_rejected():
    target = vikl.Target.from_density(lambda x: jnp.nan * jnp.sum(x), jnp.zeros(2))
    algorithm = StochasticGradient(ReverseKL(num_samples=1), optax.adam(0.05))
    start = algorithm.init(MeanFieldNormal.init(jnp.zeros(2)))
    sums, steps = Sums.of_none(start.family), np.asarray(40, np.int32)
    state, _, record = run_chunk(algorithm, start, sums, target, jax.random.key(0), steps)
    assert int(state.step) == int(state.rejected) == ROW_LIMIT
    assert not np.asarray(record)[:ROW_LIMIT, -1].any()
    np.testing.assert_array_equal(mean(state.family), mean(start.family))


def test_cells_end_at_steps_that_depend_on_the_step_alone():
    ends, step = [], 0
    while step < 3000:
        step = cell_end(step, 3000)
        ends.append(step)
    assert ends[:3] == [10, 20, 30]
    assert ends[-1] == 3000
    assert len(ends) < 100


# -- compiled once


def test_a_second_call_compiles_nothing():
    fit(optimizer=optax.adam(0.05))
    before = len(COMPILES)
    again = fit(optimizer=optax.adam(0.05))
    assert len(COMPILES) == before
    assert again.compile_seconds == 0.0
    assert "0.00 s compiling" in repr(again)


def test_new_data_of_the_same_shape_and_a_new_key_compile_nothing():
    fit()
    before = len(COMPILES)
    moved = fit(small_target(2.0), key=jax.random.key(7), num_steps=150)
    assert len(COMPILES) == before
    assert moved.compile_seconds == 0.0


def test_compiling_is_counted():
    counted = fit(optimizer=optax.chain(optax.clip(3.0), optax.sgd(0.01)), num_steps=10)
    assert counted.compile_seconds > 0.0
    assert counted.run_seconds > 0.0


# -- endings


def test_all_steps_are_taken_and_recorded():
    post = fit(num_steps=137)
    assert post.history["step"][-1] == 137
    # each step, the look at the start, and the step that looks at the last state
    assert post.num_gradients == 137 * 8 + 1 + 8
    assert "137 steps" in post.stopped_because
    expected = {"step", "loss", "loss_std_error", "elbo", "elbo_std_error"}
    assert set(post.history) == expected
    assert len({len(column) for column in post.history.values()}) == 1
    np.testing.assert_array_equal(post.history["loss"], -post.history["elbo"])


def test_one_step_is_one_step():
    post = fit(num_steps=1)
    assert post.history["step"].tolist() == [1.0]
    assert np.isfinite(post.mean).all()


def test_a_budget_too_small_says_so_and_what_was_still_gained():
    post = fit(num_steps=200, optimizer=optax.sgd(1e-3))
    assert post.status == "budget spent"
    assert "the last quarter of them gained" in post.stopped_because


def test_it_stops_where_the_loss_stands_still():
    post = fit(num_steps=None, optimizer=optax.adam(0.05))
    assert post.status == "converged"
    assert 1000 <= post.history["step"][-1] < 20_000
    assert "the last quarter of the steps gained" in post.stopped_because
    loc, precision = gaussian_parts(2)
    np.testing.assert_allclose(post.mean, loc, atol=0.15)
    np.testing.assert_allclose(np.square(post.std), 1 / np.diag(precision), rtol=0.25)


def test_a_wall_clock_budget_ends_it():
    post = fit(num_steps=100_000_000, max_seconds=1e-3)
    assert post.status == "time spent"
    assert "0.001 seconds passed" in post.stopped_because
    assert np.isfinite(post.mean).all()


def _at(step, action):
    def callback(snapshot):
        return action() if snapshot.step >= step else None

    return callback


def _raise(error):
    raise error


def test_a_callback_that_returns_true_stops_it():
    post = fit(callback=_at(50, lambda: True))
    assert post.status == "stopped by callback"
    assert post.stopped_because == "`callback` returned True at step 50"
    assert post.history["step"][-1] == 50


def test_a_callback_that_raises_loses_nothing():
    with pytest.warns(UserWarning, match=r"`callback` raised ValueError: no\. The fit so far is"):
        post = fit(callback=_at(50, lambda: _raise(ValueError("no"))))
    assert post.status == "stopped by callback"
    assert "raised ValueError: no at step 50" in post.stopped_because
    assert post.history["step"][-1] == 50


def test_ctrl_c_returns_what_there_is():
    post = fit(callback=_at(50, lambda: _raise(KeyboardInterrupt)))
    assert post.status == "interrupted"
    assert "Ctrl-C after 50 steps" in post.stopped_because
    assert "interrupted" in repr(post)
    assert same(post, fit(callback=_at(50, lambda: True)))


def test_a_callback_sees_where_the_fit_is():
    seen = []
    post = fit(callback=lambda snapshot: seen.append(snapshot))
    assert [one.step for one in seen] == post.history["step"].tolist()
    assert seen[-1].num_steps == 200
    assert seen[-1].record["elbo"] == post.history["elbo"][-1]
    assert eqx.tree_equal(seen[-1].family, post.family)
    assert seen[-1].seconds >= seen[0].seconds


# -- not finite


def nan_beyond(x):
    """Log density with its maximum at 3, undefined from 2 on."""
    return jnp.where(x[0] > 2.0, jnp.nan, -5.0 * (x[0] - 3.0) ** 2)


def test_nan_in_mid_run_gives_finite_parameters_and_a_word():
    target = vikl.Target.from_density(nan_beyond, jnp.zeros(1))
    start = MeanFieldNormal.init(jnp.zeros(1), 0.05)
    post = fit(target, family=start, num_steps=600)
    assert np.isfinite(post.mean).all()
    assert np.isfinite(post.std).all()
    assert post.status in ("diverged", "outside the support")
    assert "steps were not finite and were rejected" in post.stopped_because
    assert "going back to the last good state" in post.stopped_because


@pytest.mark.parametrize("rate", [1e3, 1e30])
def test_a_huge_learning_rate_gives_finite_parameters_and_a_word(rate):
    post = fit(optimizer=optax.sgd(rate))
    assert np.isfinite(post.mean).all()
    assert np.isfinite(post.std).all()
    assert post.status != "converged"
    assert "rejected" in post.stopped_because or "smaller learning rate" in post.stopped_because


def test_a_loss_that_rises_again_returns_the_best_state():
    """A step length that grows without end: the end of the run is worse than its middle."""
    post = fit(optimizer=optax.sgd(lambda step: 1e-4 * 1.08**step))
    assert post.status == "diverged"
    assert "smaller learning rate" in post.stopped_because
    losses = post.history["loss"]
    best = float(np.min(losses))
    assert -post.elbo < best + 5.0 < losses[-1]


# -- families, optimizers, the bar


@pytest.mark.parametrize("family", [None, FullRankNormal])
def test_the_family_can_be_left_out_or_named(family):
    post = fit(family=family, num_steps=10)
    assert isinstance(post.family, FullRankNormal)


def test_an_instance_is_where_the_fit_starts():
    post = fit(family=MeanFieldNormal.init(jnp.array([5.0, 5.0]), 0.5), num_steps=1)
    np.testing.assert_allclose(post.mean, 5.0, atol=0.1)


def test_the_bar_is_drawn_on_stderr_when_asked(capsys):
    fit(progress=True)
    drawn = capsys.readouterr()
    assert "vikl" in drawn.err
    assert "elbo" in drawn.err
    assert "200/200" in drawn.err
    assert drawn.out == ""
    fit(progress=False)
    assert capsys.readouterr().err == ""
