"""Synthetic DICOM: small oblique stacks whose grey value tells the world position, so geometry has an oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

TIMES = {
    "T1": {"ScanningSequence": "SE", "RepetitionTime": 550, "EchoTime": 9},
    "STIR": {"ScanningSequence": ["SE", "IR"], "RepetitionTime": 4000, "EchoTime": 60, "InversionTime": 150},
}


def ramp(world_lps: NDArray[Any]) -> NDArray[Any]:
    """Grey value at world positions `(..., 3)` in LPS mm: different in every direction."""
    return np.rint(1000 + world_lps @ np.array([2.0, 3.0, 5.0])).astype(np.int32)


@dataclass
class Series:
    """What to write; every field can be made wrong."""

    sequence: str = "T1"
    slices: int = 6
    rows: int = 24
    columns: int = 20
    tilt: float = 38.0
    spacing: tuple[float, float, float] = (5.0, 1.2, 0.9)
    centre: tuple[float, float, float] = (3.0, 20.0, -40.0)
    right: tuple[float, float, float] | None = None
    down: tuple[float, float, float] | None = None
    patient: str = "patient-1"
    study: str = "1.2.3.1"
    series: str = ""
    frame: str = "1.2.3.3"
    syntax: str = ExplicitVRLittleEndian
    description: str = ""
    prefix: str = "I"
    offset: int = 0
    edit: Callable[[Dataset, int], Dataset | None] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def axes(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Unit vectors (LPS) along columns, rows and slices."""
        tilt = np.radians(self.tilt)
        right = np.array(self.right if self.right is not None else (1.0, 0.0, 0.0))
        down = np.array(self.down if self.down is not None else (0.0, np.sin(tilt), -np.cos(tilt)))
        return right, down, np.cross(right, down)

    def dataset(self, index: int) -> Dataset:
        """The slice `index` as a dataset."""
        right, down, normal = self.axes()
        offset = (index - (self.slices - 1) / 2) * self.spacing[0]
        middle = np.array(self.centre) + normal * offset
        corner = (
            middle - right * self.spacing[2] * (self.columns - 1) / 2 - down * self.spacing[1] * (self.rows - 1) / 2
        )
        row, column = np.mgrid[: self.rows, : self.columns]
        world = corner + row[..., None] * down * self.spacing[1] + column[..., None] * right * self.spacing[2]
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = self.syntax
        ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
        ds.SOPClassUID = MRImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(
            entropy_srcs=[repr(self), str(index)]
        )
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        ds.Modality, ds.Manufacturer = "MR", "SIEMENS"
        ds.PatientID, ds.PatientName = self.patient, "Planted^Name"
        ds.StudyInstanceUID = self.study
        ds.SeriesInstanceUID = self.series or f"1.2.3.2.{1 if self.sequence == 'T1' else 2}"
        ds.FrameOfReferenceUID = self.frame
        ds.SeriesDescription = self.description
        ds.MagneticFieldStrength = 1.5
        for keyword, value in (TIMES.get(self.sequence, {}) | self.extra).items():
            setattr(ds, keyword, value)
        ds.Rows, ds.Columns = self.rows, self.columns
        ds.PixelSpacing = [self.spacing[1], self.spacing[2]]
        ds.SliceThickness = self.spacing[0]
        ds.ImageOrientationPatient = [*map(float, right), *map(float, down)]
        ds.ImagePositionPatient = [float(value) for value in corner]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.PixelData = (ramp(world) + self.offset).astype("<u2").tobytes()
        return ds

    def write(self, folder: Path) -> Path:
        """Write the series, file names in an order unlike the slices'."""
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(self.slices):
            ds: Dataset | None = self.dataset(index)
            if self.edit is not None:
                ds = self.edit(ds, index)
            if ds is not None:
                save(ds, folder / f"{self.prefix}{(7 * index + 3) % 1000:04d}")
        return folder


def save(ds: Dataset, path: Path) -> None:
    """Write a dataset as a DICOM file in its own transfer syntax."""
    pydicom.dcmwrite(path, ds, enforce_file_format=True)


def write_pair(folder: Path, t1: dict[str, Any] | None = None, stir: dict[str, Any] | None = None) -> Path:
    """Write `{folder}/{T1,STIR}` with changes to the fields of `Series`; none leaves a sequence as it is."""
    person = {"patient": folder.name}
    Series("T1", **(person | (t1 or {}))).write(folder / "T1")
    Series("STIR", **(person | (stir or {}))).write(folder / "STIR")
    return folder


def vouch(root: Path) -> Path:
    """List every patient's folder, or every pair of NIfTI files, as a code in `patients.csv`."""
    names = {path.name if path.is_dir() else path.name.rsplit("_", 1)[0] for path in root.iterdir()} - {"truth"}
    lines = [f"{name},{name}," for name in sorted(names) if not name.endswith(".csv")]
    (root / "patients.csv").write_text("\n".join(["patient,subject,centre", *lines]), encoding="utf-8")
    return root


@pytest.fixture(scope="session", autouse=True)
def _quiet_pydicom() -> Any:
    """Writing the bad inputs makes pydicom warn of what is meant."""
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.reading_validation_mode = pydicom.config.WARN
    yield
    pydicom.config.settings.writing_validation_mode = pydicom.config.WARN


@pytest.fixture(scope="session")
def make() -> Any:
    """The builders above, for tests (which cannot import a conftest)."""

    class Make:
        Series, pair, save, ramp = Series, staticmethod(write_pair), staticmethod(save), staticmethod(ramp)
        vouch = staticmethod(vouch)

    return Make
