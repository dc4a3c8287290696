"""How the whole suite runs: strict about dtypes and ranks, on the CPU, from fixed seeds.

What is set here must be set before JAX starts, and in the environment, so that the processes
that tests start run the same way.
"""

import contextlib
import gc
import importlib
import importlib.metadata
import os
import pathlib
import random
import subprocess
import sys
from collections.abc import Callable, Iterator

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_SETTINGS = {
    "JAX_PLATFORMS": "cpu",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    # Compiling is most of what a test of JAX costs, and the second run need not pay it again.
    # The workers of xdist share the folder: an entry met half written is compiled again.
    "JAX_COMPILATION_CACHE_DIR": str(_ROOT / ".jax_cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    "MPLBACKEND": "Agg",
}
# Most of a test's seconds go into optimizing programs that run for a millisecond, so the suite's
# are translated with little optimization: the same operations, in half the time. VIKL_CODEGEN=full
# compiles as users do; `.ci/run digits` runs the tests of digits that way.
_CODEGEN = os.environ.get("VIKL_CODEGEN", "quick")
if _CODEGEN == "quick":
    _SETTINGS["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
    if importlib.metadata.version("jaxlib").startswith(("0.9.", "0.10.")):
        # the emitters that were there before; later jaxlibs have one kind, and refuse the flag
        _SETTINGS["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"
elif _CODEGEN != "full":
    raise ValueError(f"`VIKL_CODEGEN` should be quick or full; got {_CODEGEN!r}.")
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from bounded import bounded, keep_stderr  # noqa: E402
from rows import thinned  # noqa: E402

import vikl  # noqa: E402
from vikl import _lazy  # noqa: E402
from vikl._compile import forget_compiled  # noqa: E402

#: With VIKL_EVERY=3, every third row of each law; tests without rows all run.
_EVERY = int(os.environ.get("VIKL_EVERY", "1"))
_MOST_MAPS = 15_000
#: No test may hang. The slowest takes half a minute where nothing else runs.
_MOST_SECONDS = float(os.environ.get("VIKL_TEST_SECONDS", "900"))

# A module-level `jnp` constant would start a backend, and pin its dtype, at import.
_lazy.load_everything("vikl")
_ALIVE_AFTER_IMPORT = len(jax.live_arrays())


def pytest_configure(config: pytest.Config) -> None:
    """Keep a way to say, past all capturing, where a test hung."""
    del config
    keep_stderr()


def _law(item: pytest.Item) -> tuple[str, str]:
    return str(item.path), getattr(item, "originalname", None) or item.name


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep one of `_EVERY` rows of each law."""
    items[:], left = thinned(items, _law, _EVERY)
    if left:
        config.hook.pytest_deselected(items=left)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse to test a vikl other than this one, or one that allocates when it is imported."""
    del session
    if not pathlib.Path(vikl.__file__).is_relative_to(_ROOT):
        raise pytest.UsageError(f"`vikl` should be imported from {_ROOT}; got {vikl.__file__}.")
    if _ALIVE_AFTER_IMPORT:
        raise pytest.UsageError(f"`import vikl` allocated {_ALIVE_AFTER_IMPORT} device arrays.")


def _world(bits: int) -> contextlib.AbstractContextManager:
    # JAX moved the switch out of `experimental`, and later versions warn of the old place.
    place = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
    return place.enable_x64(bits == 64)


def _memory_maps() -> int:
    maps = pathlib.Path("/proc/self/maps")
    return len(maps.read_bytes().splitlines()) if maps.exists() else 0


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory_maps() -> Iterator[None]:
    """Forget compiled programs between files, where there are many.

    Each takes some ten memory maps, and Linux gives a process 65,530: with no more to be had the
    compiler crashes.
    """
    yield
    if _memory_maps() > _MOST_MAPS:
        jax.clear_caches()
        forget_compiled()
        gc.collect()


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    """Give every test the same draws, in whatever order and process it runs."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (some libraries draw from it)


@pytest.fixture(autouse=True)
def _bounded_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that hangs."""
    with bounded(_MOST_SECONDS, request.node.nodeid):
        yield


@pytest.fixture
def world() -> Callable[[int], contextlib.AbstractContextManager]:
    """Return a function of 32 or 64: the context in which that is JAX's default float."""
    return _world


@pytest.fixture
def float64() -> Iterator[None]:
    """Run the test with 64-bit types on."""
    with _world(64):
        yield


@pytest.fixture(params=[32, 64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[np.dtype]:
    """Run the test in both worlds; its value is the default float of the one it is in."""
    with _world(request.param):
        yield np.dtype(f"float{request.param}")


@pytest.fixture
def standard_promotion() -> Iterator[None]:
    """Run the test under JAX's own promotion rules, which numpyro's code relies on."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a piece of Python in a fresh process of the same settings."""

    def run(code: str, timeout: float = 120.0, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=_ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
