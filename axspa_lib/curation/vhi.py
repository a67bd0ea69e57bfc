"""The public collection `vhi` as a source: T1 of 47 examinations, STIR and drawn inflammation of some.

Two readers drew every hyperintensity of bone twice (readings R11, R12, R21, R22: reader, trial). A half-slice label
follows from a drawing by a stated rule: only slices with a joint line, only what lies near the joint and inside the
bones, and only above a minimum area. https://github.com/c-hepburn/Bone_MRI
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage as ndi

from axspa_lib.config import MANIFEST
from axspa_lib.curation.bone_split import JOINT_CODE, BoneSplit, split_bones
from axspa_lib.curation.download import manifest
from axspa_lib.curation.geometry import grid_distance, to_canonical
from axspa_lib.curation.source import Examination
from axspa_lib.errors import DataError
from axspa_lib.labels import QUADRANTS, SIDES, STIR, T1, Bone
from axspa_lib.volume import Volume

#: Readings of the collection: reader and trial.
READERS = ("R11", "R12", "R21", "R22")
#: Inflammation farther from the joint line than this, mm in the plane, is not counted.
NEAR_MM = 20.0
#: Drawn area of a quadrant up to this, mm^2, is not inflammation.
MIN_AREA_MM2 = 10.0
#: Echo times of the protocol, s, which the files state in free text that is not read.
_SIDECAR: dict[str, dict[str, Any]] = {
    T1: {"EchoTime": 0.008},
    STIR: {"EchoTime": 0.060},
}


class VhiSource:
    """The folder of the collection, whole or in part."""

    name = "vhi"

    def __init__(self, path: Path, min_area_mm2: float = MIN_AREA_MM2, near_mm: float = NEAR_MM) -> None:
        """Open the collection.

        Args:
            path: the folder that holds `images_study`, `images_model_evaluation` and `segmentations`.
            min_area_mm2: see `MIN_AREA_MM2`.
            near_mm: see `NEAR_MM`.

        Raises:
            DataError: no T1 of the collection is there.
        """
        self.path = Path(path)
        self.min_area_mm2 = min_area_mm2
        self.near_mm = near_mm
        self._splits: dict[str, BoneSplit] = {}
        table = pd.read_csv(MANIFEST / "vhi" / "subjects.csv", dtype=str).set_index("patient")
        self._files = {patient: self._present(scan) for patient, scan in table["scan"].items()}
        self._table = table[[T1 in self._files[patient] for patient in table.index]]
        if self._table.empty:
            raise DataError(f"{path}: holds no T1 of the collection: fetch it with `axspa fetch vhi`")

    def patients(self) -> list[str]:
        """Examinations whose T1 is there, e.g. `1007pre`, sorted."""
        return sorted(self._table.index)

    @cached_property
    def missing(self) -> list[str]:
        """Files of the manifest that are not there; checksums are the business of the download."""
        return [path for path in manifest("vhi")["path"] if not (self.path / path).is_file()]

    def load(self, patient: str) -> Examination:
        """Read one examination: T1, STIR where there is one, bones split from the region mask, drawn inflammation.

        Raises:
            DataError: unknown, unreadable, not a volume, or a mask on another grid than T1.
        """
        if patient not in self._table.index:
            raise DataError(
                f"patient {patient!r} is not in {self.path}: fetch the whole collection with `axspa fetch vhi`"
            )
        files, row = self._files[patient], self._table.loc[patient]
        t1 = _read(files[T1], patient)
        notes = []
        split = self.split(patient) if "region" in files else None
        truth = {f"inflammation_{reader}": _mask(files[reader], patient, t1) for reader in READERS if reader in files}
        if split is not None:
            untrusted = split.trusted[~split.trusted["trusted"]]
            truth["joint"] = split.joint
            notes.append("bones split from one region mask along the joint; L5 left out")
            notes += [f"slice {r.slice} side {r.side}: split not trusted ({r.reason})" for r in untrusted.itertuples()]
        if STIR not in files:
            notes.append("the collection has no STIR of this examination")
        return Examination(
            patient=patient,
            subject=str(row["subject"]),
            session=str(row["session"]),
            t1=t1,
            stir=_read(files[STIR], patient) if STIR in files else None,
            sidecar={sequence: dict(_SIDECAR[sequence]) for sequence in (T1, STIR) if sequence in files},
            notes=notes,
            reference_bones=trusted_bones(split) if split is not None else None,
            truth=truth,
        )

    def split(self, patient: str) -> BoneSplit:
        """The region mask of an examination split into bones; each is split once (13 masks of 6 MB in the collection).

        Raises:
            DataError: there is no region mask, or it cannot be split.
        """
        if patient not in self._splits:
            files = self._files.get(patient, {})
            if "region" not in files:
                raise DataError(f"patient {patient!r} has no region mask in {self.path}")
            t1 = _read(files[T1], patient)
            self._splits[patient] = split_bones(t1, _mask(files["region"], patient, t1))
        return self._splits[patient]

    def readings(self) -> pd.DataFrame:
        """Labels by quadrant from the drawn inflammation: `patient, reader, slice, side, quadrant, inflammation`."""
        areas = self.areas()
        areas["inflammation"] = (areas["area_mm2"] > self.min_area_mm2).astype(int)
        return areas.drop(columns="area_mm2")

    def areas(self) -> pd.DataFrame:
        """Drawn area near the joint by quadrant: `patient, reader, slice, side, quadrant, area_mm2`.

        Every half-slice with a joint line has its four quadrants, for each reading that exists.
        """
        rows: list[tuple[Any, ...]] = []
        for patient in self.patients():
            files = self._files[patient]
            drawn = [reader for reader in READERS if reader in files]
            if not drawn or "region" not in files:
                continue
            split = self.split(patient)
            for reader in drawn:
                mask = _mask(files[reader], patient, split.bones).array > 0
                rows += [(patient, reader, *row) for row in quadrant_areas(mask, split, self.near_mm)]
        return pd.DataFrame(rows, columns=["patient", "reader", "slice", "side", "quadrant", "area_mm2"])

    def opinions(self) -> None:
        """Nobody judged the patients."""
        return None

    def _present(self, scan: str) -> dict[str, Path]:
        """What there is of a scan: `T1`, `STIR`, `region`, and the readings."""
        found: dict[str, Path] = {}
        for path in self._listed[self._listed["scan"] == scan]["path"]:
            if (self.path / path).is_file():
                found[_kind(path)] = self.path / path
        return found

    @cached_property
    def _listed(self) -> pd.DataFrame:
        paths = manifest("vhi")["path"]
        return pd.DataFrame({"path": paths, "scan": paths.map(lambda path: Path(path).name.partition("_")[0])})


def trusted_bones(split: BoneSplit) -> Volume:
    """The bone mask with the slices emptied on which a side is not trusted, so that nothing is trained on them."""
    bones = split.bones.array.copy()
    bones[split.trusted.loc[~split.trusted["trusted"], "slice"].unique()] = Bone.BACKGROUND
    return split.bones.like(bones)


def quadrant_areas(
    drawn: NDArray[np.bool_], split: BoneSplit, near_mm: float = NEAR_MM
) -> Iterator[tuple[int, str, str, float]]:
    """Drawn area per quadrant of each half-slice with a joint line.

    Args:
        drawn: inflammation `(slice, row, column)` on the grid of the split.
        split: bones and joint lines.
        near_mm: largest distance from the joint line in the plane.

    Yields:
        slice, side, quadrant (sacral or iliac by the bone; upper or lower by the mid-height of the joint line), mm^2.
    """
    _, row_mm, column_mm = split.bones.spacing
    for side in SIDES:
        for z, line in enumerate(split.joint.array == JOINT_CODE[side]):
            if not line.any():
                continue
            rows = np.flatnonzero(line.any(axis=1))
            upper = np.arange(line.shape[0])[:, None] < (rows[0] + rows[-1] + 1) / 2
            near = ndi.distance_transform_edt(~line, sampling=(row_mm, column_mm)) <= near_mm
            iliac = _iliac_side(split.bones.array[z], line)
            for quadrant in QUADRANTS:
                bone, half = quadrant.split("_")
                where = near & (iliac if bone == "iliac" else ~iliac) & (upper if half == "upper" else ~upper)
                yield z, side, quadrant, float((drawn[z] & where).sum() * row_mm * column_mm)


def _iliac_side(bones: NDArray[np.uint8], line: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels nearer to the ilium than to the sacrum (drawings overlap the edges of the bone masks a little)."""
    to_iliac = ndi.distance_transform_edt(bones != Bone.ILIAC)
    to_sacrum = ndi.distance_transform_edt(bones != Bone.SACRUM)
    return to_iliac <= to_sacrum


def _kind(path: str) -> str:
    name = Path(path).name
    if name.endswith("_T1W.nii.gz"):
        return T1
    if name.endswith("_STIR.nii.gz"):
        return STIR
    if name.endswith("_disease_region.nii.gz"):
        return "region"
    if name.endswith("_normal_marrow.nii.gz"):
        return "marrow"
    return name.removesuffix(".nii.gz").rpartition("_")[2]


def _read(path: Path, patient: str) -> Volume:
    try:
        image = nib.Nifti1Image.from_filename(path)
        array = np.asanyarray(image.dataobj)
    except Exception as error:
        raise DataError(
            f"{path.name} of patient {patient!r} cannot be read ({type(error).__name__}): delete it and fetch it again"
        ) from None
    if array.ndim != 3 or not np.isfinite(array).all():
        raise DataError(f"{path.name} of patient {patient!r} is not a finite volume: delete it and fetch it again")
    return to_canonical(array, image.affine)


def _mask(path: Path, patient: str, grid: Volume) -> Volume:
    """A mask on the grid of T1; its affine is the qform, which nibabel falls back on as the sform code is 0."""
    mask = _read(path, patient)
    if grid_distance(mask, grid) > 0.5:
        raise DataError(f"{path.name} of patient {patient!r} lies on another grid than its T1: fetch both again")
    return grid.like((mask.array > 0).astype(np.uint8))
