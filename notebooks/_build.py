"""Run the notebooks and write each beside its text form, outputs included.

    python notebooks/_build.py            # all of them
    python notebooks/_build.py NAME ...   # some

The text form (`.py`, jupytext's percent format) is the one to edit; the `.ipynb` is made from it.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
#: forgets every name, and counts cells from 1 again
EMPTY = """
(lambda ip: (ip.reset(new_session=False), setattr(ip, "execution_count", 0)))(get_ipython());
"""
# tqdm asks for widgets that nobody needs here
os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")


def sources() -> dict[str, Path]:
    """Return the text forms by name."""
    return {p.stem: p for p in sorted(FOLDER.glob("*.py")) if not p.stem.startswith("_")}


def execute(path: Path, timeout: int = 600, kernel: Any = None) -> nbformat.NotebookNode:
    """Run the text form of a notebook from top to bottom and return it with its outputs.

    A `kernel` (a manager of one) that is given is used, emptied first, and left running.
    """
    notebook = jupytext.read(path)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{path.stem[:40].replace('_', '-')}-{number}"  # not random: for diffs
    settings: Any = {
        "timeout": timeout, "kernel_name": "python3", "resources": {"metadata": {"path": FOLDER}},
    }  # fmt: skip
    if kernel is not None:
        empty = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(EMPTY)])
        _run(NotebookClient(empty, km=kernel, **settings))
    _run(NotebookClient(notebook, km=kernel, **settings))
    return notebook


def _run(client: NotebookClient) -> None:
    try:
        client.execute()
    finally:
        if client.kc is not None:  # left open for a kernel that goes on
            client.kc.stop_channels()


def without_history(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what changes from run to run and from machine to machine: times, versions, names."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict(
        {"jupytext": {"formats": "ipynb,py:percent"}, "kernelspec": kernel}
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="without the ending")
    known = sources()
    for name in parser.parse_args().names or known:
        notebook = without_history(execute(known[name]))
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")
        print(f"{name}.ipynb")


if __name__ == "__main__":
    main()
