"""Entropy, cross-entropy and KL as lengths of messages, in bits.

    python examples/coding.py           # numbers, and a figure into figures/
    python examples/coding.py --quick   # shorter messages

A code that is right for p needs H(p) bits per symbol on average, the code of q used on p needs the
cross-entropy H(p, q), and the excess is KL(p‖q) = H(p, q) − H(p). Code words have whole lengths, so
a Huffman code of single symbols comes within one bit of that; coding blocks of n symbols comes
within 1/n bit. Information gained from data is counted in the same bits.

Some textbooks and web pages print CE = KL − H, or subtract H(q): a slip of sign or of letter.
The identity is CE = KL + H(p), and with H(q) the "divergence" below would come out negative.
"""

import itertools

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from _common import BLUE, EDGE, INK, ORANGE, beside, heading, options, panels, save

from vikl import info, losses

#: name, p, q, then H(p), H(p, q), KL(p‖q) in bits by 30-digit arithmetic
WORKED = [
    ("weather", (0.6, 0.3, 0.1), (0.3, 0.3, 0.4), 1.2954618442, 1.6954618442, 0.4),
    ("spam", (0.8, 0.2), (0.6, 0.4), 0.7219280949, 0.8539580943, 0.1320299994),
    ("vehicles", (0.4, 0.2, 0.3, 0.1), (0.3, 0.3, 0.2, 0.2), 1.8464393447, 1.9709505945,
     0.1245112498),
    ("clicks", (0.2, 0.8), (0.3, 0.7), 0.7219280949, 0.7590516571, 0.0371235622),
    ("fruit", (0.3, 0.2, 0.4, 0.1), (0.25, 0.25, 0.35, 0.15), 1.8464393447, 1.8795258285,
     0.0330864839),
    ("a label", (1.0, 0.0, 0.0), (0.7, 0.2, 0.1), 0.0, 0.5145731728, 0.5145731728),
]  # fmt: skip
# relative frequencies of a to z in English prose, in percent (Lewand, Cryptological Mathematics)
ENGLISH = [
    8.167, 1.492, 2.782, 4.253, 12.702, 2.228, 2.015, 6.094, 6.966, 0.153, 0.772, 4.025, 2.406,
    6.749, 7.507, 1.929, 0.095, 5.987, 6.327, 9.056, 2.758, 0.978, 2.360, 0.150, 1.974, 0.074,
]  # fmt: skip


def numbers():
    """Print the worked examples beside their references."""
    heading("worked examples (bits per symbol)")
    pad = lambda p: np.pad(p, (0, 4 - len(p)))  # an outcome that cannot be costs nothing
    p, q = (jnp.array([pad(row[i]) for row in WORKED]) for i in (1, 2))
    found = zip(
        info.entropy(p, base=2), info.cross_entropy(p, q, base=2), info.kl_divergence(p, q, base=2)
    )
    for (name, _, _, *references), values in zip(WORKED, found):
        for what, value, reference in zip(("entropy H(p)", "cross-entropy H(p, q)", "KL(p‖q)"),
                                          values, references):  # fmt: skip
            beside(f"{name}: {what}", float(value), reference)
    boot = jnp.array([0.7, 0.2, 0.1])
    heading("a computer boots, does not, explodes: 0.7, 0.2, 0.1 (nats)")
    for p, reference in zip((0.7, 0.2, 0.1), (0.3566749439, 1.6094379124, 2.3025850930)):
        beside(f"information of an event of probability {p}", float(info.information(p)), reference)
    beside("entropy (summing rounded terms gives 0.804)", float(info.entropy(boot)), 0.8018185525)
    clicks_p, clicks_q = jnp.array([0.2, 0.8]), jnp.array([0.3, 0.7])
    wrong = float(info.cross_entropy(clicks_p, clicks_q) - info.entropy(clicks_q))
    beside("clicks: CE − H(q), the slip: not a divergence", wrong, -0.0847297861)
    heading("seven heads in ten tosses, from a uniform prior")
    gain = losses.information_gain(dist.Beta(8.0, 4.0), dist.Beta(1.0, 1.0), base=2)
    beside("information gained, KL(posterior‖prior), bits", float(gain), 0.9184392358)


def blocks(p, q, size):
    """Return p and q of blocks of independent symbols."""
    words = list(itertools.product(range(len(p)), repeat=size))
    joint = [np.array([np.prod([x[i] for i in word]) for word in words]) for x in (p, q)]
    return [x / x.sum() for x in joint]


def block_lengths(p, q, largest):
    """Mean bits per symbol on data from p, by the Huffman codes of blocks of p and of q."""
    found = []
    for size in range(1, largest + 1):
        a, b = blocks(p, q, size)
        found.append(
            [info.expected_code_length(a, info.huffman_code_lengths(x)) / size for x in (a, b)]
        )
    return np.array(found)


def message(p, lengths, count, seed=0):
    """Return the bits per symbol of a message drawn from p, coded by words of these lengths."""
    drawn = np.random.default_rng(seed).choice(len(p), size=count, p=p)
    return float(np.mean(np.asarray(lengths)[drawn]))


def letters(count):
    """Print what coding English letters costs; return the numbers for the figure."""
    p = np.array(ENGLISH) / np.sum(ENGLISH)
    q = np.full(26, 1 / 26)
    entropy, cross = (float(x) for x in (info.entropy(p, base=2), info.cross_entropy(p, q, base=2)))
    right, wrong = info.huffman_code_lengths(p), info.huffman_code_lengths(q)
    print(f"\nEnglish letters, {count} drawn, in bits per letter")
    print(f"  entropy {entropy:.4f}, Huffman code {info.expected_code_length(p, right):.4f}, "
          f"message {message(p, right, count):.4f}")  # fmt: skip
    print(f"  all letters alike: cross-entropy {cross:.4f} = log2(26), "
          f"Huffman code {info.expected_code_length(p, wrong):.4f}, "
          f"message {message(p, wrong, count):.4f}")  # fmt: skip
    print(f"  excess: KL = {float(info.kl_divergence(p, q, base=2)):.4f}")
    return p, right


def draw(p, right, lengths, entropy, cross, folder):
    figure, (left, middle) = panels(2, width=10.6, width_ratios=(1.25, 1))
    order = np.argsort(-p)
    x = np.arange(26)
    surprise = np.asarray(info.information(p, base=2))[order]
    left.bar(x, right[order], color="#DCDCDC", edgecolor=EDGE, label="Huffman word (whole bits)")
    left.plot(x, surprise, "o-", color=BLUE, ms=4, lw=1, label="information, −log₂ p")
    left.set_xticks(x, [chr(97 + i) for i in order])
    left.set(xlabel="letter, most frequent first", ylabel="bits")
    left.set_title("A good code spends on a letter what the letter tells")
    left.legend(loc="upper left")
    n = np.arange(1, len(lengths) + 1)
    for column, limit, color, style, name, words in (
        (0, entropy, BLUE, "-", "code of p", "entropy H(p)"),
        (1, cross, ORANGE, "--", "code of q", "cross-entropy H(p, q)"),
    ):
        middle.axhline(limit, color=color, lw=1, ls=":")
        middle.plot(n, lengths[:, column], color=color, ls=style, marker="os"[column], label=name)
        up = 0.035 * (1 if column else -1)
        middle.text(n[-1] + 0.15, limit + up, words, color=color, va="center", ha="right")
    middle.annotate(
        "", (1.45, cross), (1.45, entropy), arrowprops={"arrowstyle": "<->", "color": INK}
    )
    middle.text(1.52, (cross + entropy) / 2, "KL(p‖q) = 0.4 bit", va="center")
    middle.set(
        xlabel="symbols coded together", ylabel="bits per symbol", xticks=n, ylim=(1.2, 1.95)
    )
    middle.set_title("Longer blocks near H(p); the wrong code pays KL too")
    middle.legend(loc="upper right")
    save(figure, folder, "coding")


def main(argv=None):
    args = options(__doc__, argv)
    numbers()
    p, right = letters(10_000 if args.quick else 200_000)
    weather_p, weather_q = np.array(WORKED[0][1]), np.array(WORKED[0][2])
    lengths = block_lengths(weather_p, weather_q, 4 if args.quick else 7)
    print("\nweather, by Huffman codes of blocks: bits per symbol of the code of p, of q")
    for n, (a, b) in enumerate(lengths, start=1):
        print(f"  {n} together: {a:.4f} (at least 1.2955), {b:.4f} (near 1.6955)")
    draw(p, right, lengths, WORKED[0][3], WORKED[0][4], args.out)


if __name__ == "__main__":
    main()
