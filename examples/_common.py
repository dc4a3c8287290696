"""What the examples share: their options, one look for figures, and how figures are saved.

Colours are Okabe and Ito's, told apart by people with any colour vision; styles and markers differ
too, so that a figure survives a greyscale printer.
"""

import argparse
import pathlib
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

INK, QUIET, FILL, EDGE = "#222222", "#666666", "#DCDCDC", "#A0A0A0"
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#C44E00", "#007A5A", "#8A4F7D"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": EDGE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def options(text: str | None, argv: list[str] | None = None) -> argparse.Namespace:
    """Return the options that all examples take, and make the folder for figures."""
    parser = argparse.ArgumentParser(description=(text or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="seconds, less exact")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("figures"), help="folder for figures"
    )
    chosen = parser.parse_args(argv)
    chosen.out.mkdir(parents=True, exist_ok=True)
    return chosen


def panels(count: int, width: float = 11.0, height: float = 3.8, **more: Any) -> tuple[Any, Any]:
    """Return a figure and a row of axes in the common look."""
    plt.rcParams.update(STYLE)
    return plt.subplots(1, count, figsize=(width, height), layout="constrained", **more)


def save(figure: Any, folder: pathlib.Path, name: str) -> None:
    """Save a figure as PNG and say where it is."""
    figure.savefig(folder / f"{name}.png", dpi=130, facecolor="white")
    plt.close(figure)
    print(f"figure: {folder / name}.png")


def beside(what: str, found: float, reference: float, unit: str = "", digits: int = 6) -> None:
    """Print a number beside its reference."""
    print(f"{what:<52}{found:>13.{digits}f}{reference:>13.{digits}f}  {unit}".rstrip())


def heading(text: str) -> None:
    """Print the head of a table of numbers beside references."""
    print(f"\n{text}\n{'':<52}{'here':>13}{'reference':>13}")
