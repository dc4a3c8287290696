"""The room of divergences: KL(p‖q) in closed form, on plain arrays and for named distributions.

What is here. `vikl.kl.<kernel>(...)` are the formulas on arrays, batched and differentiable;
`vikl.kl_divergence(p, q)` finds the kernel by the classes of p and q. May import: jax, numpy,
equinox, `vikl._typing`, `vikl._lazy`; NumPyro only in the files `_numpyro_*.py`, on first use.

The laws, held by `tests/test_kl*.py`: zero with zero gradient at p = q; never negative; equal to
Monte Carlo; gradients equal to finite differences; float32 within 1e-6 of the true value, also
where p and q nearly agree; +inf for a support mismatch; NaN only for invalid traced input, an
error naming the argument outside jit; jit without retrace; vmap equal to a loop.

How to add a pair.
1. Write KL as a sum of terms that cannot be negative, with the functions of `_stable.py`. If no
   such form is at hand: a textbook form in double words (`_double.compensated`), or nodes and
   weights for `_quadrature.nodes_divergence`.
2. Make it a kernel (`_kernel.kernel`, one constraint per argument) and re-export it below.
3. Register it in `_numpyro_pairs.py`, and give it a row in `tests/kl_cases.py`.
"""

from .. import _lazy

if not _lazy.deferred(__name__):
    from ._circular import continuous_bernoulli as continuous_bernoulli
    from ._circular import continuous_bernoulli_uniform as continuous_bernoulli_uniform
    from ._circular import uniform_continuous_bernoulli as uniform_continuous_bernoulli
    from ._circular import von_mises as von_mises
    from ._counts import bernoulli_poisson as bernoulli_poisson
    from ._counts import binomial as binomial
    from ._counts import binomial_logits as binomial_logits
    from ._counts import binomial_poisson as binomial_poisson
    from ._counts import geometric as geometric
    from ._counts import geometric_logits as geometric_logits
    from ._counts import negative_binomial as negative_binomial
    from ._counts import negative_binomial_logits as negative_binomial_logits
    from ._counts import poisson as poisson
    from ._counts import poisson_binomial as poisson_binomial
    from ._discrete import bernoulli as bernoulli
    from ._discrete import bernoulli_logits as bernoulli_logits
    from ._discrete import categorical as categorical
    from ._discrete import categorical_logits as categorical_logits
    from ._gamma import beta as beta
    from ._gamma import chi2 as chi2
    from ._gamma import dirichlet as dirichlet
    from ._gamma import exponential as exponential
    from ._gamma import gamma as gamma
    from ._gamma import inverse_gamma as inverse_gamma
    from ._gamma import wishart as wishart
    from ._kernel import checked as checked
    from ._location_scale import cauchy as cauchy
    from ._location_scale import gumbel as gumbel
    from ._location_scale import laplace as laplace
    from ._location_scale import pareto as pareto
    from ._location_scale import uniform as uniform
    from ._location_scale import weibull as weibull
    from ._logistic import logistic as logistic
    from ._logistic import logistic_normal as logistic_normal
    from ._logistic import normal_logistic as normal_logistic
    from ._low_rank import low_rank_normal as low_rank_normal
    from ._mixed import beta_uniform as beta_uniform
    from ._mixed import exponential_gamma as exponential_gamma
    from ._mixed import exponential_gumbel as exponential_gumbel
    from ._mixed import gamma_exponential as gamma_exponential
    from ._mixed import gamma_gumbel as gamma_gumbel
    from ._mixed import gamma_log_normal as gamma_log_normal
    from ._mixed import uniform_beta as uniform_beta
    from ._mixed import uniform_gumbel as uniform_gumbel
    from ._mixed_gamma import beta_exponential as beta_exponential
    from ._mixed_gamma import beta_gamma as beta_gamma
    from ._mixed_gamma import exponential_weibull as exponential_weibull
    from ._mixed_gamma import gamma_inverse_gamma as gamma_inverse_gamma
    from ._mixed_gamma import half_normal_exponential as half_normal_exponential
    from ._mixed_gamma import inverse_gamma_gamma as inverse_gamma_gamma
    from ._mixed_gamma import log_normal_gamma as log_normal_gamma
    from ._mixed_gamma import pareto_exponential as pareto_exponential
    from ._mixed_gamma import pareto_gamma as pareto_gamma
    from ._mixed_gamma import uniform_exponential as uniform_exponential
    from ._mixed_gamma import uniform_gamma as uniform_gamma
    from ._mixed_gamma import weibull_exponential as weibull_exponential
    from ._mixed_gamma import weibull_gamma as weibull_gamma
    from ._mixed_normal import beta_normal as beta_normal
    from ._mixed_normal import exponential_normal as exponential_normal
    from ._mixed_normal import gamma_normal as gamma_normal
    from ._mixed_normal import gumbel_normal as gumbel_normal
    from ._mixed_normal import laplace_normal as laplace_normal
    from ._mixed_normal import normal_gumbel as normal_gumbel
    from ._mixed_normal import normal_laplace as normal_laplace
    from ._mixed_normal import pareto_normal as pareto_normal
    from ._mixed_normal import uniform_normal as uniform_normal
    from ._normal import diagonal_normal as diagonal_normal
    from ._normal import half_normal as half_normal
    from ._normal import log_normal as log_normal
    from ._normal import multivariate_normal as multivariate_normal
    from ._normal import multivariate_normal_covariance as multivariate_normal_covariance
    from ._normal import normal as normal
    from ._student import normal_student_t as normal_student_t
    from ._student import student_t as student_t
    from ._student import student_t_normal as student_t_normal
    from ._truncated import kumaraswamy_beta as kumaraswamy_beta
    from ._truncated import truncated_normal as truncated_normal
