"""Notebooks as programs: checked parameters in, a whole executed notebook out, or one line that says what went wrong.

papermill alone only warns about a misspelt parameter, turns tuples into text and calls a cell that timed out a success.
Everything heavy is imported where it is used, so that importing this module costs next to nothing.
"""

import ast
import copy
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sleepkit import published
from sleepkit.errors import InvalidInputError, NotebookError, nearest, one_line, refuse, require, require_count
from sleepkit.files import whole_file
from sleepkit.jupyter import figure_library, in_kernel, in_own_event_loop, kernel_manager, register_renderer
from sleepkit.settings import coerce

if TYPE_CHECKING:
    from nbformat import NotebookNode

FOLDER = published.folder("notebooks")
MOST_RENDERED_BYTES = 1_000_000
_PLAIN_TYPES = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict}
_ADDED_TAGS = {"injected-parameters", "papermill-error-cell-tag"}
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class Parameter(NamedTuple):
    """One parameter of a notebook: its type (int, float, str, bool, list, dict or a union of them with None) and default."""

    annotation: Any
    default: Any


def names() -> list[str]:
    """Return the names of the published notebooks."""
    return sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def notebook_path(name_or_path: str | Path) -> Path:
    """Return the file of a notebook, given by name, by the only prefix that fits, or by path.

    Raises:
        InvalidInputError: if there is no such notebook, or a prefix fits several.
    """
    require(isinstance(name_or_path, str | Path), "notebook", "must be a name or a path", name_or_path)
    path = Path(name_or_path)
    if path.suffix == ".ipynb":
        require(path.is_file(), "notebook", "must be the path of a file", str(path))
        return path
    known = names()
    fitting = [name for name in known if name.startswith(str(name_or_path))]
    chosen = [str(name_or_path)] if str(name_or_path) in known else fitting
    rule = f"must be a path or fit one of the known names ({', '.join(known)}){nearest(str(name_or_path), known)}"
    require(len(chosen) == 1, "notebook", rule, str(name_or_path))
    return FOLDER / f"{chosen[0]}.ipynb"


def notebook_parameters(name_or_path: str | Path) -> dict[str, Parameter]:
    """Return type and default of each parameter, read from the cell tagged ``parameters`` without running it.

    Raises:
        InvalidInputError: if there is no such notebook or the cell holds anything but literal assignments.
    """
    path = notebook_path(name_or_path)
    tagged = [cell.source for cell in _read(path).cells if "parameters" in cell.metadata.get("tags", [])]
    require(len(tagged) <= 1, path.name, "must have one cell tagged 'parameters'", len(tagged))
    where = f"{path.name}, parameters cell"
    try:
        statements = ast.parse("\n".join(tagged)).body
    except SyntaxError as error:
        refuse(where, f"must be Python ({error.msg})", error.text)
    return dict(_parameter(statement, where) for statement in statements)


def check_parameters(scope: Mapping[str, Any], types: Mapping[str, Any], *, at_least: Mapping[str, float] | None = None) -> None:
    """Refuse ill-typed, too small and misspelt parameters: the first line of a notebook, for those who run it by hand.

    Args:
        scope: the notebook's ``globals()``; papermill's injected cell is found in it and checked for misspelt names.
        types: annotation of each parameter, e.g. ``{"n_passes": int, "window_len": int | None}``.
        at_least: the smallest legal value of some parameters.

    Raises:
        InvalidInputError: naming the parameter, the rule and the value.
    """
    for name in _injected_names(scope.get("In", ())):
        _require_known(name, types, scope.get(name))
    for name, annotation in types.items():
        require(name in scope, name, "is required", None)
        coerce(scope[name], annotation, name)
    for name, least in (at_least or {}).items():
        require(scope[name] is None or scope[name] >= least, name, f"must be >= {least}", scope[name])


def checked_parameters(name_or_path: str | Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as the notebook is given them.

    Raises:
        InvalidInputError: for an unknown notebook or parameter, an ill-typed value, or one that is no JSON data.
    """
    require(isinstance(parameters, Mapping), "parameters", "must be a mapping", parameters)
    known = notebook_parameters(name_or_path)
    for name, value in parameters.items():
        _require_known(name, known, value)
    return {name: _json(coerce(value, known[name].annotation, name), name) for name, value in parameters.items()}


def use_offline_figures() -> None:
    """Keep figures in the notebook so that they are drawn without a network, in JupyterLab, VS Code and pages made by nbconvert.

    Front ends draw the data; for pages made of the notebook this cell keeps plotly's script, 2.0 MB packed. PLOTLY_RENDERER wins:
    "plotly_mimetype" keeps the data alone, "plotly_mimetype+png" pictures too, which GitHub shows and which a Chrome must draw.
    """
    import plotly.io as pio

    asked = os.environ.get("PLOTLY_RENDERER")
    pio.renderers.default = asked or register_renderer()
    if asked is None and in_kernel():
        from IPython.display import HTML, display

        display(HTML(figure_library()))


def run_notebook(
    name_or_path: str | Path,
    output: str | Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    timeout_s: int = 600,
    progress: bool = True,
) -> Path:
    """Run a notebook with this interpreter and return where its executed copy is.

    Args:
        name_or_path: e.g. "00_quickstart".
        output: where the executed notebook goes; if None, the folder ``out`` beside the source, or, for a notebook of an
            installed package, the folder ``out`` here.
        parameters: values by name, JSON data of the types that the parameters cell declares.
        timeout_s: the longest a cell may take, seconds.
        progress: show a progress bar.

    Raises:
        InvalidInputError: before anything runs, for an unknown notebook or parameter or an ill-typed value.
        NotebookError: if a cell fails or takes too long; the notebook so far is then NAME.failed.ipynb beside the output.
    """
    source = notebook_path(name_or_path)
    values = checked_parameters(source, {} if parameters is None else parameters)
    require_count("timeout_s", timeout_s)
    target = _beside(source) / "out" / source.name if output is None else Path(output)
    require(target.suffix == ".ipynb", "output", "must end in .ipynb", str(target))
    require(target.resolve() != source.resolve(), "output", "must not be the notebook itself", str(target))
    failed = target.with_name(f"{target.stem}.failed.ipynb")
    notebook, failure = _execute(source, _folder_of(target), values, timeout_s, progress, {})
    _write(notebook, failed if failure else target)
    if failure:
        raise NotebookError(f"{failure} (see {failed})")
    failed.unlink(missing_ok=True)
    return target


def render(name_or_path: str | Path, *, timeout_s: int = 600, progress: bool = True) -> Path:
    """Run a notebook at its defaults and write ``rendered/NAME.ipynb`` beside it: figures as data and as PNG.

    Timings and other metadata are left out, so that a second rendering differs only where results differ.

    Raises:
        InvalidInputError: if there is no such notebook, or it is one of an installed package.
        NotebookError: if a cell fails, or if the result is 1 MB or more or names a folder of this machine.
    """
    source = notebook_path(name_or_path)
    if source.parent == FOLDER:
        published.require_clone("notebook", str(name_or_path))
    target = source.parent / "rendered" / source.name
    notebook, failure = _execute(source, _folder_of(target), {}, timeout_s, progress, {"PLOTLY_RENDERER": "plotly_mimetype+png"})
    if failure:
        raise NotebookError(failure)
    bare = strip_notebook(notebook)
    for cell, ran in zip(bare.cells, notebook.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    text = json.dumps(bare)
    places = [FOLDER.parent, Path.home(), Path(sys.prefix), Path(tempfile.gettempdir())]
    found = [f"{place}/" for place in places if place != Path("/") and f"{place}/" in text]
    if found:
        raise NotebookError(f"{source.name}: must not name a folder of this machine in its outputs, got {found[0]!r}")
    if len(text) >= MOST_RENDERED_BYTES:
        raise NotebookError(f"{source.name}: must be below {MOST_RENDERED_BYTES:,} bytes rendered, got {len(text):,}")
    _write(bare, target)
    return target


def strip(name_or_path: str | Path) -> Path:
    """Strip a notebook in place, ready to commit.

    Raises:
        InvalidInputError: if there is no such notebook, or it is one of an installed package.
    """
    path = notebook_path(name_or_path)
    if path.parent == FOLDER:
        published.require_clone("notebook", str(name_or_path))
    _write(strip_notebook(_read(path)), path)
    return path


def strip_notebook(notebook: "NotebookNode") -> "NotebookNode":
    """Return a copy without outputs, execution counts, or metadata other than tags, for the kernel python3."""
    node = _nbformat().from_dict
    bare = copy.deepcopy(notebook)
    bare.metadata = node(_METADATA)
    for cell in bare.cells:
        tags = list(cell.metadata.get("tags", []))
        cell.metadata = node({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return bare


def _nbformat() -> Any:
    import nbformat

    return nbformat


def _read(path: Path) -> "NotebookNode":
    """Read a notebook and check it against its format: what is missing shows here and nowhere later."""
    nbformat = _nbformat()
    damage = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, nbformat.ValidationError)
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text)
        if not isinstance(data, dict) or not isinstance(data.get("nbformat"), int):
            raise ValueError("must be a JSON object with its 'nbformat'")
        notebook: NotebookNode = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
    except damage as error:
        refuse("notebook", f"must be a readable notebook ({one_line(error)})", str(path))
    return notebook


def _write(notebook: "NotebookNode", path: Path) -> None:
    with whole_file(path) as temporary:
        _nbformat().write(notebook, temporary)


def _parameter(statement: ast.stmt, where: str) -> tuple[str, Parameter]:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            default = _literal(value, name)
            require(default is not None, name, "needs an annotation in the parameters cell", None)
            return name, Parameter(type(default), default)
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
            wanted = _annotation(annotation, name)
            return name, Parameter(wanted, coerce(_literal(value, name), wanted, name))
    rule = "must hold only lines like 'name = literal' or 'name: type = literal'"
    raise InvalidInputError(f"{where}: {rule}, got {ast.unparse(statement)!r}")


def _literal(value: ast.expr, name: str) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError:
        refuse(name, "must be a literal in the parameters cell", ast.unparse(value))


def _annotation(node: ast.expr, name: str) -> Any:
    match node:
        case ast.Constant(value=None):
            return type(None)
        case ast.Name(id=kind) if kind in _PLAIN_TYPES:
            return _PLAIN_TYPES[kind]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _annotation(left, name) | _annotation(right, name)
    rule = f"must be annotated with {', '.join(_PLAIN_TYPES)} or a union of them with None"
    raise InvalidInputError(f"{name}: {rule}, got {ast.unparse(node)!r}")


def _require_known(name: str, known: Mapping[str, Any], value: Any) -> None:
    require(name in known, name, f"unknown parameter; known: {', '.join(known) or 'none'}", value)


def _json(value: Any, name: str) -> Any:
    """Refuse what JSON would change or lose on the way into the kernel: tuples, numpy scalars, NaN."""
    try:
        same = bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        same = False
    require(same, name, "must be JSON data", value)
    return value


def _injected_names(sources: Any) -> list[str]:
    """Names assigned in the cells that papermill injected, which start with the comment "# Parameters"."""
    injected = [source for source in sources if isinstance(source, str) and source.startswith("# Parameters\n")]
    targets = [node.targets[0] for source in injected for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _beside(source: Path) -> Path:
    """Where the outputs of a notebook go: beside it, but not into an installed package."""
    return Path() if source.parent == FOLDER and published.clone() is None else source.parent


def _folder_of(target: Path) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse("output", f"must be in a folder that can be made ({one_line(error)})", str(target))
    return target.parent


def _execute(
    source: Path, folder: Path, values: dict[str, Any], timeout_s: int, progress: bool, environment: Mapping[str, str]
) -> "tuple[NotebookNode, str | None]":
    """Run a notebook in a scratch folder; return it as far as it came, and the line that says what went wrong."""
    from nbclient.exceptions import CellTimeoutError
    from papermill import PapermillExecutionError, execute_notebook

    with tempfile.TemporaryDirectory(prefix=f".{source.stem}.", dir=folder) as scratch:
        draft = Path(scratch).resolve() / "draft.ipynb"
        _write(_with_parameters(source, values), draft)
        place = str(draft).replace("{", "{{").replace("}", "}}")
        reason = None
        try:
            in_own_event_loop(
                execute_notebook,
                input_path=place,
                output_path=place,
                kernel_name="python3",
                language="python",
                kernel_manager_class=kernel_manager(environment, published.clone()),
                execution_timeout=timeout_s,
                progress_bar=progress,
            )
        except PapermillExecutionError as error:
            reason = f"must run to its end, got {error.ename}: {one_line(error.evalue)}"
        except CellTimeoutError:
            reason = f"must finish within {timeout_s} s, got a time-out"
        except RuntimeError as error:
            reason = f"must leave the kernel alive, got {type(error).__name__}: {one_line(error)}"
        notebook = _read(draft)
    errors = [out for cell in notebook.cells for out in cell.get("outputs", []) if out.output_type == "error"]
    if errors and reason is None:
        reason = "must run to its end, got an exit"
    notebook.metadata.papermill.update(input_path=source.name, output_path=None, exception=reason is not None)
    return notebook, None if reason is None else f"{source.name}, {_last_started(notebook)}: {reason}"


def _with_parameters(source: Path, values: dict[str, Any]) -> "NotebookNode":
    """The notebook with the values in a cell of their own, and without such a cell of an earlier run."""
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    notebook: NotebookNode = load_notebook_node(str(source))
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.tags]
    if values:
        notebook = parameterize_notebook(notebook, values, kernel_name="python3", language="python")
    return notebook


def _last_started(notebook: "NotebookNode") -> str:
    """The cell that ran last, by its number in the source (from 1) and its first line."""
    cells = [cell for cell in notebook.cells if not _ADDED_TAGS & set(cell.metadata.get("tags", []))]
    numbers = [number for number, cell in enumerate(cells) if cell.metadata.get("papermill", {}).get("start_time")]
    if not numbers:
        return "before the first cell"
    first_line = cells[numbers[-1]].source.strip().partition("\n")[0]
    return f"cell {numbers[-1] + 1} ({first_line[:60]!r})"
