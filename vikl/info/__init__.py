"""Information of plain probability arrays: entropy, cross-entropy, KL and code lengths.

**Purpose.** The numbers of information theory for arrays of probabilities (no distribution
objects), in nats (`base=e`, the default) or bits (`base=2`). `vikl.info.logits` has the same
words for arrays of unnormalised log probabilities; it is a room of its own, not a keyword,
because a keyword would change what the positional arguments mean.

**May import.** `vikl._typing` and nothing else of vikl (floor 1).

**Conventions.** `0 log 0 = 0`; `+inf` where `p > 0 = q`; never negative. Bad input is an error
outside `jax.jit`; inside it the affected entries are NaN. Where a true gradient is infinite
(`-log p` at 0) the gradient returned is 0, so that it stays right after a softmax and never turns
into NaN. The information gained in moving from a prior to a posterior is
`kl_divergence(posterior, prior)`.

**To add a quantity.** One function in a private module, checked with `_checks.probabilities` and
summed from non-negative terms of `_stable`; re-export it below; add a row to `tests/test_info.py`.

**Laws.** The worked examples to 1e-12 (float64) and 2e-6 (float32); cross-entropy = entropy + KL;
zero at `p = q`; the gradient against finite differences along the simplex; jit = eager; errors
that name the argument.
"""

from vikl import _lazy
from vikl.info import _logits

if not _lazy.deferred(__name__):
    from vikl.info._codes import expected_code_length as expected_code_length
    from vikl.info._codes import huffman_code_lengths as huffman_code_lengths
    from vikl.info._codes import shannon_code_lengths as shannon_code_lengths
    from vikl.info._entropy import binary_entropy as binary_entropy
    from vikl.info._entropy import entropy as entropy
    from vikl.info._entropy import information as information
    from vikl.info._relative import cross_entropy as cross_entropy
    from vikl.info._relative import kl_divergence as kl_divergence
    from vikl.info._relative import mutual_information as mutual_information

logits = _logits
