"""Stand-in registry."""

_T = {}


def register_kl(p, q):
    """Stand-in."""

    def deco(f):
        _T[p, q] = f
        return f

    return deco


def kl_divergence(p, q):
    """Stand-in."""
    return _T[type(p), type(q)](p, q)
