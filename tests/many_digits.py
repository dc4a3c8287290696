"""Reference values by 30-digit arithmetic."""

import mpmath as mp


def softmax(z, temperature=1):
    """Probabilities by 30-digit arithmetic."""
    with mp.workdps(30):
        e = [mp.exp(mp.mpf(x) / temperature) for x in z]
        return [x / sum(e) for x in e]


def kl(p, q):
    """KL of two lists of probabilities, by 30-digit arithmetic."""
    with mp.workdps(30):
        return sum(a * mp.log(mp.mpf(a) / b) for a, b in zip(p, q) if a > 0)
