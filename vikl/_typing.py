"""The array aliases that signatures use. Floor 0: imports nothing of vikl."""

from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped, UInt32

#: A typed PRNG key (`jax.random.key`) or a raw one (`jax.random.PRNGKey`).
PRNGKey = Key[Array, ""] | UInt32[Array, "2"]
Scalar = Float[Array, ""]
Vector = Float[Array, " dim"]
Matrix = Float[Array, "dim dim"]

__all__ = [
    "Array", "Bool", "Float", "Int", "Matrix", "PRNGKey", "PyTree", "Scalar", "Shaped", "Vector",
]  # fmt: skip
