"""Execute one notebook by papermill and believe it only when every cell says so.

A notebook whose kernel was killed looks complete in its own metadata, so completeness is judged by the exit of
papermill, by execution counts 1..n, by the absence of error outputs, and, for workers, by the `run.json` written last.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml

from axspa_lib.study.errors import AxspaError
from axspa_lib.study.runs import environment, record_stage

#: Papermill waits this long for a kernel: many starting at once on one machine are slow.
START_TIMEOUT_S = 300


class NotebookError(AxspaError):
    """A notebook that failed, or that was not executed completely."""


def execute(notebook: Path, executed: Path, parameters: dict[str, Any]) -> None:
    """Execute `notebook` with `parameters` into `executed`; the file stays with its traceback when a cell fails.

    Raises:
        NotebookError: a cell failed (one sentence: the error's own), the kernel died, or a parameter is unknown.
    """
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ.setdefault("MPLBACKEND", "agg")
    # pages have no widgets; tqdm would say so, with a path of this machine
    os.environ["PYTHONWARNINGS"] = ",".join(
        filter(None, (os.environ.get("PYTHONWARNINGS"), "ignore:IProgress not found"))
    )
    import papermill
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    known = papermill.inspect_notebook(str(notebook))
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise NotebookError(f"{notebook.name} has no parameter {unknown[0]!r}: it has {', '.join(known)}")
    executed.parent.mkdir(parents=True, exist_ok=True)
    part = executed.with_name(f".{executed.name}")
    notes = executed.absolute().with_name(f".{executed.name}.reads")
    report = executed.absolute().with_suffix(".progress")
    notes.unlink(missing_ok=True)
    try:
        with environment(AXSPA_NOTES=str(notes), AXSPA_PROGRESS=str(report)):
            papermill.execute_notebook(
                str(notebook), str(part), parameters, kernel_name="python3", cwd=str(notebook.parent),
                progress_bar=False, log_output=False, start_timeout=START_TIMEOUT_S,
            )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        part.replace(executed)
        where = f" (notebook {executed})"
        told = error.evalue if is_user_error(error.ename) else f"{error.ename}: {error.evalue}{where}"
        raise NotebookError(told) from None
    except (CellExecutionError, DeadKernelError, RuntimeError) as error:
        raise NotebookError(
            f"{notebook.name}: the kernel stopped ({type(error).__name__}); was memory short?"
        ) from None
    finally:
        reads = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        report.unlink(missing_ok=True)
    check_executed(part)
    strip(part, dict(json.loads(line) for line in reads))
    part.replace(executed)


def is_user_error(name: str) -> bool:
    """Return whether an exception class of that name is an error written for users."""
    return any(name == cls.__name__ for cls in _subclasses(AxspaError))


def check_executed(path: Path) -> dict[str, Any]:
    """Check that an executed notebook is complete.

    Returns:
        Its injected parameters (the defaults where nothing was injected).

    Raises:
        NotebookError: a cell was not run, ran out of order, or holds an error; names the cell.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotebookError(f"{path}: not a notebook ({type(error).__name__}); execute it again") from None
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    if not cells:
        raise NotebookError(f"{path}: has no code cell")
    for number, cell in enumerate(cells, start=1):
        where = f"{path.name}, code cell {number}"
        tags = cell.get("metadata", {}).get("tags", [])
        if any(output["output_type"] == "error" for output in cell["outputs"]) or "papermill-error-cell-tag" in tags:
            raise NotebookError(f"{where}: ended with an error; execute the notebook again")
        if cell.get("execution_count") != number:
            raise NotebookError(f"{where}: was not executed in order (count {cell.get('execution_count')})")
        if cell.get("metadata", {}).get("papermill", {}).get("status", "completed") != "completed":
            raise NotebookError(f"{where}: was interrupted; execute the notebook again")
    return dict(notebook["metadata"].get("papermill", {}).get("parameters", {}))


def inputs(path: Path) -> dict[str, str]:
    """Return the results that an executed notebook read: `<profile>/<file>` → SHA-256."""
    return dict(json.loads(path.read_text(encoding="utf-8"))["metadata"].get("axspa", {}).get("inputs", {}))


def strip(path: Path, read: dict[str, str]) -> None:
    """Remove times, paths and widgets, which change from run to run; add what was `read`."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    papermill = notebook["metadata"].get("papermill", {})
    notebook["metadata"]["papermill"] = {"parameters": papermill.get("parameters", {})}
    notebook["metadata"]["axspa"] = {"inputs": dict(sorted(read.items()))}
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        status = cell["metadata"].pop("papermill", {}).get("status")
        if status:
            cell["metadata"]["papermill"] = {"status": status}
        cell["metadata"].pop("execution", None)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """`python -m axspa_lib.book.execution NOTEBOOK EXECUTED [--record=FOLDER] name=value ...`: values are YAML scalars.

    With `--record` the execution itself is a job with a `run.json` in that folder: for chapters, which write none.
    """
    notebook, executed, *pairs = arguments
    record = next((Path(pair.removeprefix("--record=")) for pair in pairs if pair.startswith("--record=")), None)
    pairs = [pair for pair in pairs if not pair.startswith("--record=")]
    parameters = {name: yaml.safe_load(value) for name, _, value in (pair.partition("=") for pair in pairs)}
    label = " ".join(str(value) for name, value in parameters.items() if name not in ("profile", "threads"))
    label = f"{Path(notebook).stem} {label}".strip()
    print(f"== {label}: started", flush=True)
    clock = time.monotonic()
    try:
        with record_stage(record, parameters) if record else nullcontext():
            execute(Path(notebook), Path(executed), parameters)
    except AxspaError as error:
        print(f"== {label}: FAILED: {error}", flush=True)
        return 1
    print(f"== {label}: done in {time.monotonic() - clock:.0f} s", flush=True)
    return 0


def _subclasses(cls: type[AxspaError]) -> list[type[AxspaError]]:
    children: list[type[AxspaError]] = cls.__subclasses__()
    return [cls, *(each for child in children for each in _subclasses(child))]


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
