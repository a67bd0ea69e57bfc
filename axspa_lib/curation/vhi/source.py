"""The public collection `vhi` as a source: T1 of 47 examinations, STIR and drawn inflammation of some.

Two readers drew every hyperintensity of bone twice (readings R11, R12, R21, R22: reader, trial). A half-slice label
follows from a drawing by a stated rule: only slices with a joint line, only what lies near the joint and inside the
bones, and only above a minimum area. https://github.com/c-hepburn/Bone_MRI
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage as ndi
from tqdm.auto import tqdm

from axspa_lib.curation.download import manifest
from axspa_lib.curation.nifti import read_image, read_mask
from axspa_lib.curation.source import Examination
from axspa_lib.curation.vhi.bone_split import JOINT_CODE, BoneSplit, split_bones
from axspa_lib.study.config import MANIFEST, digest
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import QUADRANTS, RIGHT, SIDES, STIR, T1, Bone
from axspa_lib.study.volume import Volume

log = logging.getLogger(__name__)

#: Readings of the collection: reader and trial.
READERS = ("R11", "R12", "R21", "R22")
#: Inflammation farther from the joint line than this, mm in the plane, is not counted.
NEAR_MM = 20.0
#: Drawn area of a quadrant up to this, mm^2, is not inflammation.
MIN_AREA_MM2 = 10.0
#: Columns of the table of drawn areas.
AREA_COLUMNS = ("patient", "reader", "slice", "side", "quadrant", "area_mm2")
#: Columns of the table of splits (`bone_split.BoneSplit.trusted`).
SPLIT_COLUMNS = ("patient", "slice", "side", "trusted", "reason", "joint_mm", "seen", "jump_mm")
_FETCH = "fetch the collection with `axspa download vhi FOLDER`"
#: Echo times of the protocol, s, which the files state in free text that is not read.
_SIDECAR: dict[str, dict[str, Any]] = {T1: {"EchoTime": 0.008}, STIR: {"EchoTime": 0.060}}


class VhiSource:
    """The folder of the collection, whole or in part."""

    name = "vhi"
    t1_alone = True  # most of its examinations are T1 only: bones and joints, pre and post treatment

    def __init__(self, path: Path, min_area_mm2: float = MIN_AREA_MM2) -> None:
        """Open the collection.

        Args:
            path: the folder that holds `images_study`, `images_model_evaluation` and `segmentations`.
            min_area_mm2: see `MIN_AREA_MM2`.
        """
        self.path = Path(path)
        self.min_area_mm2 = min_area_mm2
        self._splits: dict[str, BoneSplit] = {}
        table = pd.read_csv(MANIFEST / "vhi" / "subjects.csv", dtype=str).set_index("patient")
        self._published = {str(patient): self._of(scan) for patient, scan in table["scan"].items()}
        self._files = {
            patient: {kind: path for kind, path in files.items() if path.is_file()}
            for patient, files in self._published.items()
        }
        self._table = table[[T1 in self._files[patient] for patient in table.index]]
        if self._table.empty:
            raise DataError(f"{path}: holds no T1 of the collection; {_FETCH}")

    def prepare(self, progress: bool = False) -> None:
        """Split the masks that the readings need, once, with a bar: each takes seconds."""
        for patient in tqdm(self._with("region", *READERS), unit="scan", desc="splitting bones", disable=not progress):
            self._splittable(patient)

    def patients(self) -> list[str]:
        """Return the examinations whose T1 is there, e.g. `1007pre`, sorted."""
        return sorted(self._table.index)

    def describe(self, patient: str) -> Examination:
        """Return who an examination is of, without its images."""
        row = self._table.loc[patient]
        return Examination(patient, str(row["subject"]), str(row["session"]))

    def fingerprint(self, patient: str) -> str:
        """Return a digest that changes when the files of an examination do."""
        files = {kind: path.stat() for kind, path in sorted(self._files[patient].items())}
        return digest({kind: [stat.st_size, stat.st_mtime_ns] for kind, stat in files.items()})

    def load(self, patient: str) -> Examination:
        """Read one examination: T1, STIR where there is one, bones split from the region mask, drawn inflammation."""
        if patient not in self._table.index:
            raise DataError(f"patient {patient!r} is not in {self.path}; {_FETCH}")
        files = self._files[patient]
        t1 = read_image(files[T1])
        notes = []
        split = self.split(patient) if "region" in files else None
        truth = {f"inflammation_{reader}": read_mask(files[reader], t1) for reader in READERS if reader in files}
        truth |= {kind: read_mask(files[kind], t1) for kind in ("region", "marrow") if kind in files}
        if split is not None:
            truth |= {"joint": split.joint, "split": split.bones}
            notes.append("bones split from one region mask along the joint; L5 left out")
            doubtful = split.trusted[~split.trusted["trusted"]]
            if len(doubtful):
                where = ", ".join(f"{row.slice}{row.side}" for row in doubtful.itertuples())
                notes.append(f"bones left out on slices whose split is not trusted ({where})")
        if STIR not in files:
            notes.append(
                "the collection has no STIR of this examination"
                if STIR not in self._published[patient]
                else "its STIR is not downloaded"
            )
        return replace(
            self.describe(patient),
            t1=t1,
            stir=read_image(files[STIR]) if STIR in files else None,
            sidecar={sequence: dict(_SIDECAR[sequence]) for sequence in (T1, STIR) if sequence in files},
            notes=notes,
            reference_bones=trusted_bones(split) if split is not None else None,
            truth=truth,
        )

    def split(self, patient: str) -> BoneSplit:
        """Return the region mask of an examination split into bones; each is split once (13 masks of 6 MB)."""
        if patient not in self._splits:
            files = self._files.get(patient, {})
            if "region" not in files:
                raise DataError(f"patient {patient!r} has no region mask in {self.path}; {_FETCH}")
            t1 = read_image(files[T1])
            self._splits[patient] = split_bones(t1, read_mask(files["region"], t1))
        return self._splits[patient]

    def readings(self) -> pd.DataFrame:
        """Return labels by quadrant from the drawings: `patient, reader, slice, side, quadrant, inflammation`."""
        areas = self.areas.copy()
        areas["inflammation"] = (areas["area_mm2"] > self.min_area_mm2).astype(int)
        return areas.drop(columns="area_mm2")

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return further tables of the book: `drawn_areas` (before the minimum) and `bone_splits` (all splits)."""
        judged = [
            self.split(patient).trusted.assign(patient=patient)
            for patient in self._with("region")
            if self._splittable(patient)
        ]
        trust = pd.concat(judged or [pd.DataFrame(columns=SPLIT_COLUMNS)], ignore_index=True)
        return {"drawn_areas": self.areas, "bone_splits": trust[list(SPLIT_COLUMNS)]}

    @cached_property
    def areas(self) -> pd.DataFrame:
        """Drawn area near the joint by quadrant, as `drawn_areas`; of every examination with drawings and a mask."""
        parts = [pd.DataFrame(columns=AREA_COLUMNS)]
        for patient in self._with("region", *READERS):
            files = self._files[patient]
            try:
                joint = self.split(patient).joint
                drawn = {reader: read_mask(files[reader], joint) for reader in READERS if reader in files}
            except DataError as error:  # its examination is refused by `load` with the same reason
                log.warning("no readings of patient %s: %s", patient, error)
                continue
            parts.append(drawn_areas(patient, joint, drawn))
        return pd.concat(parts, ignore_index=True)

    def _with(self, kind: str, *others: str) -> list[str]:
        """Return the examinations that have a file of a kind, and one of the others if any are given."""
        files = {patient: set(self._files[patient]) for patient in self.patients()}
        return [name for name, kinds in files.items() if kind in kinds and (not others or kinds & set(others))]

    def _splittable(self, patient: str) -> bool:
        try:
            self.split(patient)
        except DataError as error:  # its examination is refused by `load` with the same reason
            log.warning("no bones of patient %s: %s", patient, error)
            return False
        return True

    def opinions(self) -> None:
        """Return None: nobody judged the patients."""
        return None

    def _of(self, scan: str) -> dict[str, Path]:
        """Return the files of a scan by kind: `T1`, `STIR`, `region`, `marrow` and the readings."""
        names = [path for path in manifest("vhi")["path"] if Path(path).name.startswith(f"{scan}_")]
        return {_kind(name): self.path / name for name in names}


def trusted_bones(split: BoneSplit) -> Volume:
    """Return the bone mask with untrusted slices emptied, so that nothing is trained on them."""
    bones = split.bones.array.copy()
    bones[split.trusted.loc[~split.trusted["trusted"], "slice"].unique()] = Bone.BACKGROUND
    return split.bones.like(bones)


def drawn_areas(patient: str, joint: Volume, drawings: Mapping[str, Volume], near_mm: float = NEAR_MM) -> pd.DataFrame:
    """Return the drawn area near the joint by quadrant (`AREA_COLUMNS`).

    Every half-slice with a joint line has its four quadrants for each reader: sacral or iliac by the side of the line,
    upper or lower by the mid-height of the line.

    Args:
        patient: named in the table.
        joint: joint lines (`JOINT_CODE`), canonical.
        drawings: inflammation by reader, on the same grid.
        near_mm: largest distance from the joint line in the plane.
    """
    _, row_mm, column_mm = joint.spacing
    rows: list[tuple[Any, ...]] = []
    for side in SIDES:
        for z, line in enumerate(joint.array == JOINT_CODE[side]):
            if not line.any():
                continue
            near = ndi.distance_transform_edt(~line, sampling=(row_mm, column_mm)) <= near_mm
            for quadrant, where in _quadrants(line, side).items():
                for reader, drawing in drawings.items():
                    area = np.count_nonzero((drawing.array[z] > 0) & near & where) * row_mm * column_mm
                    rows.append((patient, reader, z, side, quadrant, area))
    return pd.DataFrame(rows, columns=AREA_COLUMNS)


def _quadrants(line: NDArray[np.bool_], side: str) -> dict[str, NDArray[np.bool_]]:
    """Return the four quadrants of a half-slice; beyond its ends the line continues straight up and down."""
    rows = np.flatnonzero(line.any(axis=1))
    position = np.arange(line.shape[1])
    middle = [position[line[row]].mean() for row in rows]
    at = np.interp(np.arange(line.shape[0]), rows, middle)[:, None]
    iliac = position < at if side == RIGHT else position > at
    upper = np.arange(line.shape[0])[:, None] < (rows[0] + rows[-1] + 1) / 2
    return {
        quadrant: (iliac if quadrant.startswith("iliac") else ~iliac)
        & (upper if quadrant.endswith("upper") else ~upper)
        for quadrant in QUADRANTS
    }


def _kind(path: str) -> str:
    name = Path(path).name.removesuffix(".nii.gz").partition("_")[2]
    kinds = {"T1W": T1, "STIR": STIR, "disease_region": "region", "normal_marrow": "marrow"}
    return kinds.get(name, name.rpartition("_")[2])
