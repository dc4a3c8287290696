"""How far is what was received from what was sent? KL as distortion, four ways, against the truth.

    python examples/distortion.py           # numbers, and a figure into figures/
    python examples/distortion.py --quick   # fewer draws

A Gaussian signal with white noise added: KL between what was sent and what arrives, over the
signal-to-noise ratio, by formula. Two autoregressive signals: KL per sample by their spectra. And
the same numbers from samples alone, by nearest neighbours and by a classifier that tells the two
apart. Samples are enough where the distortion is large; a classifier that has the right features
sees smaller ones than neighbours do, and neither sees what is below its noise.
"""

import jax.numpy as jnp
import numpy as np
from _common import BLUE, EDGE, GREEN, ORANGE, PURPLE, beside, heading, options, panels, save

import vikl
from vikl import losses

#: decibels -> KL in nats, by 30-digit arithmetic
REFERENCE = {-10: 0.7444021819, 0: 0.0965735903, 10: 0.0022005444, 20: 2.467037708e-05}
ONE, OTHER = ([1.6, -0.8], 0.6), ([0.9, -0.3], 1.0)


def numbers():
    """Print KL over the signal-to-noise ratio beside its references."""
    heading("a signal with white noise added: KL(sent‖received), nats per sample")
    for decibels, reference in REFERENCE.items():
        found = float(losses.noise_kl(jnp.array(10.0 ** (decibels / 10))))
        beside(f"signal-to-noise ratio {decibels} dB", found, reference, digits=9)


def from_samples(decibels, count, repeats):
    """Return estimates by neighbours and by a classifier, (ratio, method, repeat)."""
    rng = np.random.default_rng(0)
    found = np.zeros((len(decibels), 2, repeats))
    for i, level in enumerate(decibels):
        sd = np.sqrt(1 + 10 ** (-level / 10))
        for j in range(repeats):
            x, y = rng.normal(0, 1, count), rng.normal(0, sd, count)
            found[i, 0, j] = vikl.kl_from_samples(x, y, k=5)
            found[i, 1, j] = vikl.kl_from_classifier(x, y)
    return found


def series(coefficients, scale, count, rng, warm=500):
    """Return a stretch of an autoregressive process."""
    noise = rng.normal(0, scale, count + warm)
    x = np.zeros(count + warm)
    order = len(coefficients)
    for t in range(order, len(x)):
        x[t] = noise[t] + np.dot(coefficients, x[t - order : t][::-1])
    return x[warm:]


def windows(x, length):
    """Return the disjoint windows of a series as rows."""
    return x[: len(x) // length * length].reshape(-1, length)


def processes(count):
    """KL per sample of two processes by closed form, spectra, and samples of windows."""
    exact = float(losses.autoregressive_kl(*ONE, *OTHER))
    spectra = [np.asarray(losses.autoregressive_spectrum(a, s, 512)) for a, s in (ONE, OTHER)]
    by_spectra = float(losses.spectral_kl(jnp.array(spectra[0]), jnp.array(spectra[1])))
    heading("two autoregressive signals: KL per sample, nats")
    beside("by their spectra, 512 frequencies", by_spectra, exact)
    rng = np.random.default_rng(1)
    x, y = (series(*process, count, rng) for process in (ONE, OTHER))
    # the chain rule: a window one longer costs one rate more, once it is longer than the order
    rows = []
    for length in (2, 3, 4):
        a, b = windows(x, length), windows(y, length)
        rows.append([float(vikl.kl_from_samples(a, b)), float(vikl.kl_from_classifier(a, b))])
    rows = np.array(rows)
    print(f"from {count} samples of each, by the growth of KL from windows of 2 to windows of 4:")
    for name, column in zip(("nearest neighbours", "classifier"), rows.T):
        print(f"  {name:<22}{(column[2] - column[0]) / 2:.4f}   (exactly {exact:.4f})")
    return spectra, exact


def draw(decibels, samples, count, spectra, exact, folder):
    figure, (left, right) = panels(2, width=11.5, width_ratios=(1.25, 1))
    fine = np.linspace(-10, 25, 200)
    truth = np.asarray(losses.noise_kl(jnp.array(10 ** (fine / 10))))
    left.plot(fine, truth, color=EDGE, lw=3, label="formula")
    looks = ((ORANGE, "s", "nearest neighbours", -0.35), (BLUE, "o", "classifier", 0.35))
    for j, (color, marker, name, shift) in enumerate(looks):
        some = samples[:, j]
        middle, low, high = (np.quantile(some, q, axis=1) for q in (0.5, 0.1, 0.9))
        floor = 1e-6
        left.errorbar(
            decibels + shift, np.maximum(middle, floor),
            [np.maximum(middle, floor) - np.maximum(low, floor), high - np.maximum(middle, floor)],
            fmt=marker, color=color, capsize=2, ms=5, label=f"{name}, {count} draws",
        )  # fmt: skip
    left.plot(list(REFERENCE), list(REFERENCE.values()), "k+", ms=11, label="30-digit references")
    left.set_yscale("log")
    left.set(xlabel="signal-to-noise ratio (dB)", ylabel="KL(sent‖received) (nats per sample)",
             ylim=(1e-6, 2))  # fmt: skip
    left.set_title("Distortion falls as 1/SNR²; samples see it down to their noise")
    left.text(
        25,
        1.2,
        "marks: median of the repeats; bars: the middle 80 %\n"
        "(an estimate below 0 stands at the foot)",
        ha="right",
        va="top",
        fontsize=8,
    )
    left.legend(loc="lower left")
    w = np.arange(257) / 256
    for s, (color, style, name) in zip(
        spectra, ((GREEN, "-", "sent: resonant"), (PURPLE, "--", "received: smoother"))
    ):
        right.semilogy(w, s[:257], color=color, ls=style, lw=2, label=name)
    ratio = spectra[0] / spectra[1]
    twin = right.twinx()
    twin.fill_between(w, 0.5 * (ratio - 1 - np.log(ratio))[:257], color=EDGE, alpha=0.35, lw=0)
    twin.set(ylabel="contribution to KL (nats, grey area)", ylim=(0, None))
    twin.spines["right"].set_visible(True)
    right.set(xlabel="frequency (half cycles per sample)", ylabel="power density (log scale)")
    right.set_title(f"Where two signals differ: {exact:.3f} nats per sample, by frequency")
    right.legend(loc="upper right")
    save(figure, folder, "distortion")


def main(argv=None):
    args = options(__doc__, argv)
    numbers()
    count, repeats = (500, 3) if args.quick else (4000, 10)
    decibels = np.array([-10.0, 0.0, 10.0, 20.0] if args.quick else np.arange(-10, 21, 5.0))
    samples = from_samples(decibels, count, repeats)
    print(f"\nfrom {count} draws of each, {repeats} repeats: mean ± sd of one estimate, nats")
    print(f"  {'dB':>5}{'formula':>12}{'nearest neighbours':>26}{'classifier':>26}")
    for level, row in zip(decibels, samples):
        truth = float(losses.noise_kl(jnp.array(10 ** (level / 10))))
        cells = "".join(f"{f'{e.mean():.5f} ± {e.std(ddof=1):.5f}':>26}" for e in row)
        print(f"  {level:>5.0f}{truth:>12.5f}{cells}")
    spectra, exact = processes(8000 if args.quick else 80_000)
    draw(decibels, samples, count, spectra, exact, args.out)


if __name__ == "__main__":
    main()
