"""Curation of one cohort of the study (section 2)."""

from __future__ import annotations

from typing import Any

from axspa_lib.curation.curate import curate
from axspa_lib.curation.open import open_source
from axspa_lib.curation.sources import source_folder, source_kind
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Study
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import record_stage


def curate_cohort(study: Study, cohort: str, *, workers: int = 1, progress: bool = False) -> dict[str, Any]:
    """Curate the source of `cohort`; the training cohort also gets its splits (sections 4.1 and 4.2)."""
    out = Layout.of(study).cohort(cohort)
    trains = cohort == study.training_cohort
    with record_stage(out, {"cohort": cohort, "seed": study.seed}) as record:
        curate(
            open_source(source_folder(study, cohort), source_kind(cohort)),
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
