"""Stages of chapter 1: make the source of a cohort available, and curate it (section 2)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from axspa_lib.curation.curate import curate
from axspa_lib.curation.download import fetch_collection
from axspa_lib.curation.open import Kind, open_source
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Study
from axspa_lib.study.errors import DataError
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import REPOSITORY, read_run, record_stage

#: How the source of a public collection is read.
COLLECTIONS: dict[str, Kind] = {"vhi": "vhi", "iaxspa-demo": "dicom"}
#: A folder of public collections next to the repository, used before the network is asked.
LOCAL_COLLECTIONS = REPOSITORY.parent / "shared" / "data"


def make_source(study: Study, cohort: str, *, workers: int = 1, progress: bool = False) -> dict[str, Any]:
    """Simulate, find or download the source of a cohort, and record where it lies.

    A phantom is simulated inside the run's folder, which belongs to the workflow: one simulated earlier with another
    seed, other parameters or another simulator is replaced; one with the same is completed.

    Returns:
        The record written to `run.json`; `folder` is the source's folder, relative to that of the record.
    """
    target = Layout.of(study).source(cohort)
    with record_stage(target, {"cohort": cohort, "seed": study.seed}) as record:
        folder = target / "export"
        if cohort in study.folders:
            folder = Path(study.folders[cohort]).expanduser()
            if not folder.is_dir():
                raise DataError(f"cohort {cohort}: no folder at {folder}; correct `folders.{cohort}` in the profile")
        elif cohort in study.phantoms:
            from axspa_lib.phantom.cohort import holds_another, simulate_cohort

            spec = study.phantoms[cohort]
            if holds_another(folder, cohort, spec, study.seed):
                shutil.rmtree(folder)
            simulate_cohort(cohort, spec, study.seed, folder, workers=workers, progress=progress)
        elif cohort in COLLECTIONS:
            local = Path(os.environ.get("AXSPA_REAL_DATA", LOCAL_COLLECTIONS)) / cohort
            if local.is_dir():
                folder = local
            else:
                fetch_collection(cohort, folder, progress=progress)
        else:
            raise DataError(
                f"cohort {cohort} is private: name your copy's folder in `folders: {{{cohort}: ...}}` of a profile in "
                "data_manifest/profiles.local.yaml (layout: data_manifest/templates/README.md)"
            )
        record["folder"] = os.path.relpath(folder, target)
    return record


def source_folder(study: Study, cohort: str) -> Path:
    """Return the folder of a source made by `make_source`."""
    target = Layout.of(study).source(cohort)
    return (target / read_run(target)["folder"]).resolve()


def curate_cohort(study: Study, cohort: str, *, workers: int = 1, progress: bool = False) -> dict[str, Any]:
    """Curate the source of a cohort; the training cohort also gets its splits (sections 4.1 and 4.2)."""
    out = Layout.of(study).cohort(cohort)
    kind: Kind = "phantom" if cohort.startswith("phantom") else COLLECTIONS.get(cohort, "auto")
    trains = cohort == study.training_cohort
    with record_stage(out, {"cohort": cohort, "seed": study.seed}) as record:
        curate(
            open_source(source_folder(study, cohort), kind),
            out,
            seed=study.seed,
            bones_split=study.bones.split if trains else None,
            detection_split=study.detector.split if trains else None,
            folds=study.folds if trains else 1,
            require_agreement=trains,
            workers=workers,
            progress=progress,
        )
        curated = Cohort(out)
        record["metrics"] = {"included": len(curated.patients), "excluded": len(curated.exclusions)}
    return record
