"""Statistical assertions whose two error rates are declared: false alarms, and misses.

Not called `statistics`: the tests folder is on the path, and would shadow the standard library's.
"""

from statistics import NormalDist

import numpy as np

#: the chance that a right program fails one assertion (for some draws of the seed)
FALSE_FAIL = 1e-6
#: the chance that an error of the size `detects` passes
FALSE_PASS = 1e-3


def assert_mean(draws, expected, *, detects, false_fail=FALSE_FAIL, false_pass=FALSE_PASS):
    """Assert that independent `draws` (n, ...) have the mean `expected`, element by element.

    Fails where the difference exceeds the standard error times the normal quantile of
    `false_fail` (shared among the elements), and refuses a sample too small to notice an error
    of `detects` with probability 1 − `false_pass`.
    """
    error, std_error, alarm, power = _study(draws, expected, false_fail, false_pass)
    weakest = float(np.max((alarm + power) * std_error / np.asarray(detects, np.float64)))
    assert weakest <= 1.0, (
        f"{len(draws)} draws are too few to detect {detects}: take {weakest**2:.3g} times as many."
    )
    worst = np.unravel_index(np.argmax(np.abs(error) - alarm * std_error), error.shape)
    assert np.all(np.abs(error) <= alarm * std_error), (
        f"the mean of {len(draws)} draws differs from {expected} by {error}; "
        f"worst at {worst}: {error[worst] / std_error[worst]:.1f} standard errors."
    )


def assert_at_most(draws, bound, *, false_fail=FALSE_FAIL):
    """Assert that the mean of independent `draws` (n, ...) is not above `bound`."""
    error, std_error, alarm, _ = _study(draws, bound, false_fail, FALSE_PASS)
    assert np.all(error <= alarm * std_error), f"the mean exceeds {bound} by {error}."


def _study(draws, expected, false_fail, false_pass):
    draws = np.asarray(draws, np.float64)
    assert np.isfinite(draws).all(), "some draws are not finite"
    count = max(int(np.prod(draws.shape[1:])), 1)
    error = np.asarray(draws.mean(axis=0) - np.asarray(expected, np.float64))
    # rounding of a mean of constants must not look like a significant difference
    size = np.max(np.abs(draws), axis=0)
    std_error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws)) + 1e-7 * size + 1e-30
    alarm = -NormalDist().inv_cdf(false_fail / 2 / count)
    return error, np.asarray(std_error), alarm, -NormalDist().inv_cdf(false_pass)
