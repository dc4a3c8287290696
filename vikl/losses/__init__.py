"""KL at work: losses, constraints and bounds of other people's models.

**Purpose.** Where KL is used outside posterior fitting: knowledge distillation, focal weighting,
policies that may not move far, information gained from data, signals and their spectra, the parts
of a variational autoencoder. Pure functions of arrays (or of distributions, where it says so), in
nats, made to stand inside other people's training loops: differentiable, usable under `jit` and
`vmap`, right in float32.

**May import.** `vikl._typing`, `vikl._doors` and every room below (floor 5).

**Conventions.** A loss is minimised and not reduced: it has the batch shape of its arguments, and
`masked_mean` averages it. A row masked out by `where` costs 0 and has gradient 0, whatever it
holds. Bad input is an error that names the argument outside `jax.jit`; inside it the affected
rows are NaN. Directions are in the order of the arguments: `policy_kl(p, q)` is KL(p‖q).

**To add a loss.** One function in a file of its own, re-exported below, and a row in
`tests/losses_cases.py`, which enrols it in the laws.

**Laws.** Never negative and zero at equality, where the row says so; the gradient against finite
differences; float32 against float64, also at extreme logits; `where`; jit = eager without a
retrace; vmap = loop; errors that name the argument.
"""

from .. import _lazy

if not _lazy.deferred(__name__):
    from ._bandit import TiltedPolicy as TiltedPolicy
    from ._bandit import tilted_policy as tilted_policy
    from ._distillation import distillation as distillation
    from ._focal import focal_kl as focal_kl
    from ._focal import focal_kl_from_logits as focal_kl_from_logits
    from ._focal import naive_focal_kl as naive_focal_kl
    from ._gain import information_gain as information_gain
    from ._penalty import AdaptivePenalty as AdaptivePenalty
    from ._policy import policy_kl as policy_kl
    from ._rate import active_units as active_units
    from ._rate import rate as rate
    from ._rate import sampled_rate as sampled_rate
    from ._rows import masked_mean as masked_mean
    from ._spectra import autoregressive_kl as autoregressive_kl
    from ._spectra import autoregressive_spectrum as autoregressive_spectrum
    from ._spectra import noise_kl as noise_kl
    from ._spectra import spectral_kl as spectral_kl
    from ._squashed import TanhNormal as TanhNormal
    from ._tokens import token_kl as token_kl
    from ._trust_region import TrustRegionStep as TrustRegionStep
    from ._trust_region import trust_region_step as trust_region_step
    from ._vae import distortion as distortion
    from ._vae import elbo as elbo
    from ._vae import importance_weighted_bound as importance_weighted_bound
    from ._vae import vae_loss as vae_loss
