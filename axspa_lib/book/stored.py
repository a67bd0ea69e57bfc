"""Results that come with the repository: `book/stored/<profile>/` mirrors the small part of `runs/<profile>/`.

Small is what tables and figures can be recomputed from: executed chapters, predictions, histories, tables, cohort
tables and every `run.json`; never an image, a mask or weights. A chapter's notebook records the checksum of each result
it read (`runs.record_input`), which shows that it belongs to the stored files.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from axspa_lib.study.errors import AxspaError
from axspa_lib.study.runs import REPOSITORY, sha256, write_json, write_text

MANIFEST = "manifest.json"

#: Kinds of files that are kept, and what is not though it is of these kinds: raw data, masks as run lengths, logs.
_KINDS = (".csv", ".json", ".parquet")
_LEFT_OUT = ("identity", "workflow", "export", "derivatives", "failed", "instances.json", MANIFEST)
_LARGEST = 3_000_000

#: What is kept of the raw data: the table of the lesions that the simulator drew.
_TRUTH = ("export", "truth", "lesions.csv")


class StoredResultError(AxspaError):
    """A stored result that does not belong to the others."""


def is_small(name: PurePosixPath) -> bool:
    """Return whether a file below a profile's folder is kept with the repository.

    >>> [is_small(PurePosixPath(p)) for p in ("tables/table1.csv", "cohorts/a/sub-1/anat/x.json", "bones/a/model.pt")]
    [True, False, False]
    """
    if name.parts[-3:] == _TRUTH:
        return True
    if any(part.startswith((".", "sub-")) or part in _LEFT_OUT for part in name.parts):
        return False
    return name.suffix in _KINDS or (name.parts[0] == "notebooks" and name.suffix == ".ipynb")


def small_files(root: Path) -> Iterator[PurePosixPath]:
    """Yield the names of a profile's small files below `root`, sorted."""
    for path in sorted(root.rglob("*")):
        name = PurePosixPath(path.relative_to(root).as_posix())
        if is_small(name) and path.is_file():
            yield name


def mirror(source: Path, target: Path) -> list[PurePosixPath]:
    """Copy the small part of a profile's results; where raw data lie on this machine is left out."""
    names = list(small_files(source))
    for name in names:
        path, copy = source / name, target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if name.parts[0] == "sources" and name.name == "run.json":
            record = json.loads(path.read_text(encoding="utf-8"))
            record.pop("folder", None)
            write_json(copy, record)
        else:
            shutil.copyfile(path, copy)
    return names


def keep(source: Path, target: Path) -> list[PurePosixPath]:
    """Store the small part of a profile's results with a manifest of checksums, whole or not at all.

    Raises:
        StoredResultError: a file is too large to come with a repository, or a chapter tells a folder of this machine.
    """
    for name in small_files(source):
        if name.suffix == ".ipynb" and (told := _own_folder((source / name).read_text(encoding="utf-8"))):
            raise StoredResultError(
                f"{source.name}/{name}: shows the folder {told} of this machine: silence what printed it, run it again"
            )
        if (size := (source / name).stat().st_size) > _LARGEST:
            raise StoredResultError(f"{source.name}/{name}: has {size / 1e6:.1f} MB, at most 3 are kept")
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        names = mirror(source, part)
        write_manifest(part)
        shutil.rmtree(target, ignore_errors=True)
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return names


def _own_folder(text: str) -> str:
    """Return the folder of this machine (packages, repository, user) that a text names, else nothing."""
    told = (str(folder) for folder in (sys.prefix, REPOSITORY, Path.home()) if folder != Path("/"))
    return next((folder for folder in told if f"{folder}/" in text), "")


def write_manifest(root: Path) -> None:
    """Write the checksums of all files below a stored profile, one a line."""
    table = {str(name): sha256(root / name) for name in small_files(root)}
    write_text(root / MANIFEST, json.dumps(table, indent=0, sort_keys=True) + "\n")


def check_manifest(root: Path) -> None:
    """Check that a stored profile is what was stored: no file changed, gone or added.

    Raises:
        StoredResultError: names the file.
    """
    try:
        known = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise StoredResultError(f"stored/{root.name}: has no {MANIFEST}: store it with `axspa store`") from None
    found = {str(name) for name in small_files(root)}
    for name in sorted(found ^ set(known)):
        told = "is gone" if name in known else "was added by hand"
        raise StoredResultError(
            f"stored/{root.name}/{name}: {told}: restore it from git, or `axspa store` the run again"
        )
    for name, checksum in known.items():
        if sha256(root / name) != checksum:
            raise StoredResultError(
                f"stored/{root.name}/{name}: is not the file that was stored: restore it from git, or compute the "
                "chapters from it with `axspa render --recompute`"
            )


def check_inputs(notebook: Path, inputs: dict[str, Any], roots: tuple[Path, ...]) -> None:
    """Check that an executed chapter was computed from the results that lie in `roots` now.

    Args:
        notebook: for the message.
        inputs: what it read, `<profile>/<file>` → SHA-256 (metadata `axspa.inputs`).
        roots: folders of profiles, the first that has a file counts.

    Raises:
        StoredResultError: a result is gone or another; names the notebook and the file.
    """
    if not inputs:
        raise StoredResultError(f"{notebook.name}: does not say what it was computed from; execute it again")
    for name, checksum in sorted(inputs.items()):
        paths = [root / name for root in roots if (root / name).is_file()]
        if not paths:
            if is_small(PurePosixPath(*PurePosixPath(name).parts[1:])):
                raise StoredResultError(f"{notebook.name}: was computed from {name}, which is gone; execute it again")
        elif sha256(paths[0]) != checksum:
            raise StoredResultError(
                f"{notebook.name}: was computed from another {name} than the one there now: restore that file, or "
                "compute the chapters from it with `axspa render --recompute`"
            )
