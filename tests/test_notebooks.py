"""The notebooks: text and notebook agree, outputs are kept, and each runs from top to bottom."""

import importlib.util
import pathlib

import jupytext
import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient.exceptions import CellExecutionError

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SMALL = 600e3  # bytes


def build():
    """The module that makes the notebooks."""
    spec = importlib.util.spec_from_file_location("_build", FOLDER / "_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(notebook):
    """What people read in a notebook: the kinds and sources of its cells."""
    return [(cell.cell_type, cell.source.strip()) for cell in notebook.cells]


def lacking_outputs(notebook):
    """Sentences about code that was not run, in order, to a good end."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = []
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("the cells were not run once each, from top to bottom")
    kinds = [output.output_type for cell in code for output in cell.outputs]
    if "error" in kinds:
        found.append("a cell ended in an error")
    said = "".join(
        output.text for cell in code for output in cell.outputs if output.output_type == "stream"
    )
    if "/home/" in said or "site-packages" in said:
        found.append("an output shows a path of the machine that made it")
    pictures = [
        output for cell in code for output in cell.outputs if "image/png" in output.get("data", {})
    ]
    if not pictures:
        found.append("there is no picture")
    return found


def test_every_notebook_has_its_text_form():
    texts = {p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_")}
    assert texts == {p.stem for p in NOTEBOOKS}
    assert len(texts) >= 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_text_and_notebook_agree_and_outputs_are_kept(path):
    notebook = nbformat.read(path, as_version=4)
    text = jupytext.read(path.with_suffix(".py"))
    assert cells(notebook) == cells(text), f"run `python notebooks/_build.py {path.stem}`"
    assert lacking_outputs(notebook) == []
    assert path.stat().st_size < SMALL


def test_what_is_missing_is_seen():
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    text = jupytext.read(NOTEBOOKS[0].with_suffix(".py"))
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    assert "not run" in lacking_outputs(text)[0]
    assert "no picture" in lacking_outputs(text)[-1]
    notebook.cells[code[1]].source += "\nx = 1"
    assert cells(notebook) != cells(text)
    notebook.cells[code[1]].outputs = [nbformat.v4.new_output("error", ename="E", evalue="")]
    notebook.cells[code[2]].outputs = [nbformat.v4.new_output("stream", text="/hom" + "e/me/x.py")]
    assert len(lacking_outputs(notebook)) == 2


@pytest.fixture(scope="module")
def kernel():
    """Return one kernel for all, as users have JAX: importing it costs as much as a notebook."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIKL_QUICK", "1")
        patch.setenv("PYTHONPATH", str(FOLDER.parent))
        for rule, value in (("DTYPE", "standard"), ("RANK", "allow")):
            patch.setenv(f"JAX_NUMPY_{rule}_PROMOTION", value)
        patch.setenv("PYTHONWARNINGS", "ignore:IProgress not found")
        patch.delenv("MPLBACKEND", raising=False)  # the kernel has its own
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=str(FOLDER))
        yield manager
        manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_runs_from_top_to_bottom(name, kernel):
    """In its short version where it has one; an error in a cell is raised here, with its text."""
    found = build().execute(FOLDER / f"{name}.py", kernel=kernel)
    assert lacking_outputs(found) == []


def test_a_notebook_finds_no_names_of_another(tmp_path, kernel):
    for name, code in (("first", "left = 1\nprint(left)"), ("second", "print(left)")):
        (tmp_path / f"{name}.py").write_text(f"# %%\n{code}\n")
    build().execute(tmp_path / "first.py", kernel=kernel)
    with pytest.raises(CellExecutionError, match="'left' is not defined"):
        build().execute(tmp_path / "second.py", kernel=kernel)
