"""Sources: simulate a phantom, find the user's own folder, or take a public collection (local, mirror, network)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Literal

from axspa_lib.study.config import Study
from axspa_lib.study.errors import DataError
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import REPOSITORY, record_stage

#: A folder of public collections beside the repository, used before the network is asked.
LOCAL_COLLECTIONS = REPOSITORY.parent / "shared" / "data"


def make_source(study: Study, cohort: str, *, workers: int = 1, progress: bool = False) -> dict[str, Any]:
    """Make the source folder of `cohort` available and record where it lies.

    A phantom is simulated inside the run's folder, which belongs to the workflow: one simulated earlier with another
    seed, other parameters or another simulator is replaced; one with the same is completed.

    Returns:
        The record written to `run.json`; `metrics.folder` is the source's folder (kept relative for phantoms).

    Raises:
        DataError: the user's folder is missing, or a collection cannot be had.
    """
    target = Layout.of(study).source(cohort)
    with record_stage(target, {"cohort": cohort, "seed": study.seed}) as record:
        if cohort in study.folders:
            folder = Path(study.folders[cohort]).expanduser()
            if not folder.is_dir():
                raise DataError(f"cohort {cohort}: no folder at {folder}; correct `folders.{cohort}` in the profile")
        elif cohort in study.phantoms:
            from axspa_lib.phantom.cohort import holds_another, simulate_cohort

            folder = target / "export"
            spec = study.phantoms[cohort]
            if holds_another(folder, cohort, spec, study.seed):
                shutil.rmtree(folder)
            simulate_cohort(cohort, spec, study.seed, folder, workers=workers, progress=progress)
        elif cohort in ("vhi", "iaxspa-demo"):
            folder = _collection(cohort, target / "export", progress)
        else:
            raise DataError(
                f"cohort {cohort} is private: name your copy's folder in `folders: {{{cohort}: ...}}` of a profile in "
                "data_manifest/profiles.local.yaml (layout: data_manifest/templates/README.md)"
            )
        record["folder"] = os.path.relpath(folder, target)
    return record


def source_folder(study: Study, cohort: str) -> Path:
    """Folder of a source made by `make_source`."""
    from axspa_lib.study.runs import read_run

    target = Layout.of(study).source(cohort)
    return (target / read_run(target)["folder"]).resolve()


def source_kind(cohort: str) -> Literal["auto", "dicom", "vhi", "phantom"]:
    """How a cohort's source is read (`axspa_lib.curation.source.open_source`)."""
    if cohort.startswith("phantom"):
        return "phantom"
    if cohort == "vhi":
        return "vhi"
    return "dicom" if cohort == "iaxspa-demo" else "auto"


def _collection(cohort: str, out: Path, progress: bool) -> Path:
    local = Path(os.environ.get("AXSPA_REAL_DATA", LOCAL_COLLECTIONS)) / cohort
    if local.is_dir():
        return local
    from axspa_lib.curation.download import fetch_collection

    fetch_collection(cohort, out, progress=progress)
    return out
