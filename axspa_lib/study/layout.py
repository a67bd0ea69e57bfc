"""Addresses of a study's results under `runs/<profile>/`, for the Snakefile and the stages.

Only the workflow writes there: it marks its jobs by `$AXSPA_OFFICIAL`. Whatever a person runs writes below
`runs/scratch/<profile>/`, whose other folders are links to the run's finished ones.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from axspa_lib.study.config import Study
from axspa_lib.study.runs import runs_root

#: A number, or its wildcard in the Snakefile.
Number = int | str


@dataclass(frozen=True)
class Layout:
    """Addresses of one profile's results; every folder is finished when its `run.json` is there.

    `fold` is the number of a fold of a cross-validation, or None for the single split, whose folders have no such part.
    """

    root: Path

    @classmethod
    def of(cls, study: Study) -> Layout:
        """Return where this process reads and writes: the run's own folder for the workflow's jobs, else scratch."""
        root = runs_root() / study.profile
        return cls(root if is_official() else _linked(root, runs_root() / "scratch" / study.profile))

    def source(self, cohort: str) -> Path:
        """Raw data as exported: DICOM or NIfTI with their tables."""
        return self.root / "sources" / cohort

    def cohort(self, cohort: str) -> Path:
        """Curated cohort (`axspa_lib.study.cohort.Cohort`)."""
        return self.root / "cohorts" / cohort

    def bones(self, bone: str, round_number: Number = 1, fold: Number | None = None) -> Path:
        """Return the folder of one trained bone network."""
        return self.root / "bones" / f"round-{round_number}" / _part(fold) / bone

    def bone_variant(self, variant: str, fold: Number | None = None) -> Path:
        """Return the folder of one bone-network variant: its networks and the Dice of the patients held out."""
        return self.root / "bone_variants" / variant / _part(fold)

    def segmentation(self, cohort: str, round_number: Number = 1, fold: Number | None = None) -> Path:
        """Bone masks, joints and the increment of a cohort."""
        return self.root / "segmentations" / f"round-{round_number}" / _part(fold) / cohort

    def slices(self, data_id: str, cohort: str, fold: Number | None = None) -> Path:
        """Return the folder of the detector's preprocessed slices and their instances."""
        return self.root / "slices" / data_id / _part(fold) / cohort

    def pretrained(self, data_id: str) -> Path:
        """Return the folder of the detector pre-trained on simulated patients."""
        return self.root / "pretrained" / data_id

    @property
    def measures(self) -> Path:
        """Lesions and change on real scans (profile `public`)."""
        return self.root / "measures"

    @property
    def likeness(self) -> Path:
        """Comparison of the phantom with real scans: contrast, readers, classifier."""
        return self.root / "likeness"

    def member(self, experiment: str, seed: Number, fold: Number | None = None) -> Path:
        """Return the folder of one trained detector with its predictions."""
        return self.root / "detector" / experiment / _part(fold) / f"seed-{seed}"

    @property
    def tables(self) -> Path:
        """Tables computed by the reader notebooks."""
        return self.root / "tables"

    @property
    def notebooks(self) -> Path:
        """Executed reader notebooks."""
        return self.root / "notebooks"

    def chapter(self, name: str) -> Path:
        """Record of a chapter's execution; the executed notebook itself lies in `notebooks`."""
        return self.root / "chapters" / name


def is_official() -> bool:
    """Return whether the workflow started this process, which alone writes a run's results."""
    return os.environ.get("AXSPA_OFFICIAL") == "1"


def _linked(run: Path, scratch: Path) -> Path:
    """Link a run's finished folders into a scratch folder, where it has none of its own; return that."""
    for done in sorted(run.rglob("run.json")):
        folder = scratch / done.parent.relative_to(run)
        inside_a_link = any(parent.is_symlink() for parent in folder.parents)
        if not inside_a_link and (folder.is_symlink() or not folder.exists()):
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.unlink(missing_ok=True)
            folder.symlink_to(done.parent.resolve(), target_is_directory=True)
    return scratch


def _part(fold: Number | None) -> str:
    return "" if fold is None else f"fold-{fold}"
