"""DICOM MR series of a simulated examination, with a synthetic identity that curation has to strip.

Everything in a header, unique identifiers included, follows from the examination's own key; dates are synthetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from axspa_lib.phantom.physics.scanner import Channel, Protocol

_SURNAMES = ("AMBER", "BIRCH", "CEDAR", "DELTA", "EMBER", "FJORD", "GRANITE", "HAZEL", "INDIGO", "JUNIPER", "LARCH",
             "MAPLE")  # fmt: skip
_GIVEN = ("ALPHA", "BETA", "GAMMA", "EPSILON", "ZETA", "THETA", "KAPPA", "SIGMA", "OMEGA", "IOTA")
#: Series descriptions of T1 and STIR by vendor.
_DESCRIPTIONS = {
    "SIEMENS": ("t1_tse_cor obl SI", "tirm_cor obl SI"),
    "GE MEDICAL SYSTEMS": ("COR OBL T1 FSE", "COR OBL STIR"),
    "Philips Medical Systems": ("T1W_TSE cor", "STIR_TSE cor"),
}


@dataclass(frozen=True)
class Identity:
    """A synthetic person as a hospital writes them; `key` seeds the unique identifiers."""

    key: str
    name: str
    number: str
    sex: str
    birth: date
    study: date
    weight_kg: float


def draw_identity(key: str, sex: str, age: float, rng: np.random.Generator, session: int = 0) -> Identity:
    """Draw a name, numbers and dates that belong to nobody; sessions lie half a year apart."""
    study = date(2008, 1, 7) + timedelta(days=int(rng.integers(0, 900)))
    birth = study - timedelta(days=int(age * 365.25) + int(rng.integers(0, 300)))
    name = f"PHANTOM-{_SURNAMES[rng.integers(len(_SURNAMES))]}^{_GIVEN[rng.integers(len(_GIVEN))]}"
    number, weight = f"PH{int(rng.integers(10**7)):07d}", float(np.clip(rng.normal(72, 12), 45, 120))
    return Identity(key, name, number, sex, birth, study + session * timedelta(days=182), weight)


@dataclass(frozen=True)
class Geometry:
    """Where a stack lies in the patient (DICOM LPS, mm).

    Attributes:
        row, column: directions of increasing column index (along a row) and of increasing row index.
        origin: position of the body frame's zero (midline, top of the ala, first joint slice).
        frame: unique identifier of the frame of reference.
    """

    row: NDArray[np.float64]
    column: NDArray[np.float64]
    origin: NDArray[np.float64]
    frame: str

    @property
    def normal(self) -> NDArray[np.float64]:
        """Direction of increasing z (dorsal)."""
        return np.cross(self.row, self.column)

    def position(self, x: float, y: float, z: float) -> NDArray[np.float64]:
        """Return patient coordinates of a point of the scanner frame."""
        return self.origin + x * self.row + y * self.column + z * self.normal

    def affine(self, protocol: Protocol, x0: float, y0: float) -> NDArray[np.float64]:
        """Return the 4 x 4 matrix from `(slice, row, column)`, slices ventral to dorsal, to RAS mm."""
        p = protocol
        columns = (self.normal * p.spacing, self.column * p.pixel, self.row * p.pixel, self.position(x0, y0, p.first_z))
        out = np.eye(4)
        out[:3] = np.diag([-1.0, -1.0, 1.0]) @ np.stack(columns, axis=1)
        return out


def oblique(tilt_deg: float, swing_deg: float, origin: NDArray[np.float64], frame: str) -> Geometry:
    """Place semi-coronal slices `tilt_deg` from coronal, cranial end forward, turned by `swing_deg` about feet-head."""
    tilt, swing = np.deg2rad(tilt_deg), np.deg2rad(swing_deg)
    row = np.array([np.cos(swing), np.sin(swing), 0.0])
    back = np.array([-np.sin(swing), np.cos(swing), 0.0])
    column = np.sin(tilt) * back - np.cos(tilt) * np.array([0.0, 0.0, 1.0])
    return Geometry(row, column, origin, frame)


def uid(*parts: object) -> UID:
    """Return a unique identifier that follows from its parts."""
    return generate_uid(entropy_srcs=["axspa-phantom", *map(str, parts)])


def write_series(
    folder: Path, pixels: NDArray[np.uint16], protocol: Protocol, name: str, channel: Channel, geometry: Geometry,
    identity: Identity, corner: tuple[float, float], depths: NDArray[np.float64], number: int,
) -> None:  # fmt: skip
    """Write one series, one file per slice, in the order the scanner stored them.

    Args:
        folder: of the series; created.
        pixels: `(slice, row, column)` stored values, ventral to dorsal.
        name: "T1" or "STIR"; `number` the series number.
        corner: x, y (mm) of the first pixel's centre; `depths` z of the slices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = range(len(depths))
    dataset = _header(protocol, name, channel, identity, number)
    dataset.FrameOfReferenceUID = geometry.frame
    dataset.ImageOrientationPatient = [f"{v:.9f}"[:16] for v in (*geometry.row, *geometry.column)]
    for instance, k in enumerate(reversed(order) if protocol.reversed_order else order, 1):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid(identity.key, name, k)
        dataset.InstanceNumber = instance
        position = geometry.position(*corner, float(depths[k]))
        dataset.ImagePositionPatient = [f"{v:.6f}"[:16] for v in position]
        dataset.SliceLocation = f"{float(position @ geometry.normal):.6f}"[:16]
        image = pixels[k]
        dataset.Rows, dataset.Columns = image.shape
        dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue = int(image.min()), int(image.max())
        high = float(np.percentile(image, 99.5))
        dataset.WindowCenter, dataset.WindowWidth = f"{high / 2:.1f}", f"{max(high, 1):.1f}"
        dataset.PixelData = image.astype("<u2").tobytes()
        dataset.save_as(folder / f"IM{instance:04d}.dcm", enforce_file_format=True)


def _header(protocol: Protocol, name: str, channel: Channel, identity: Identity, number: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid("implementation")
    meta.ImplementationVersionName = "AXSPA_PHANTOM"
    d = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    day = identity.study.strftime("%Y%m%d")
    stir = channel.sequence.ti > 0
    time = f"10{20 + number:02d}00"
    values: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 100", "SOPClassUID": MRImageStorage, "Modality": "MR",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"][: 3 + protocol.normalised],
        "StudyDate": day, "SeriesDate": day, "AcquisitionDate": day, "ContentDate": day,
        "StudyTime": "101500", "SeriesTime": time, "AcquisitionTime": time, "ContentTime": time,
        "AccessionNumber": identity.number[::-1][:16], "Manufacturer": protocol.vendor,
        "InstitutionName": f"Phantom hospital {protocol.centre:02d}", "StudyDescription": "SI JOINTS",
        "ReferringPhysicianName": "PHANTOM^REFERRER", "OperatorsName": "PHANTOM^OPERATOR",
        "SeriesDescription": _DESCRIPTIONS[protocol.vendor][stir], "ManufacturerModelName": protocol.model,
        "PatientName": identity.name, "PatientID": identity.number,
        "PatientBirthDate": identity.birth.strftime("%Y%m%d"), "PatientSex": identity.sex,
        "PatientWeight": f"{identity.weight_kg:.1f}",
        "ScanningSequence": ["SE", "IR"] if stir else ["SE"], "SequenceVariant": ["SK", "SP"], "ScanOptions": "",
        "MRAcquisitionType": "2D", "SequenceName": ("tir2d1" if stir else "tse2d1") + f"_{channel.etl}",
        "SliceThickness": f"{protocol.thickness:g}", "RepetitionTime": f"{channel.sequence.tr:g}",
        "EchoTime": f"{channel.sequence.te:g}", "NumberOfAverages": "2", "EchoTrainLength": str(channel.etl),
        "ImagingFrequency": f"{42.577 * protocol.field_t:.4f}", "ImagedNucleus": "1H",
        "MagneticFieldStrength": f"{protocol.field_t:g}", "SpacingBetweenSlices": f"{protocol.spacing:g}",
        "PercentSampling": f"{100 * channel.read_mm / channel.phase_mm:.0f}", "PercentPhaseFieldOfView": "100",
        "PixelBandwidth": f"{channel.bandwidth_hz:.0f}", "DeviceSerialNumber": f"{40000 + protocol.centre}",
        "ProtocolName": "SIJ", "InPlanePhaseEncodingDirection": "ROW" if protocol.phase_rows else "COL",
        "FlipAngle": "150", "PatientPosition": "HFS", "LossyImageCompression": "00",
        "StudyInstanceUID": uid(identity.key, "study"), "SeriesInstanceUID": uid(identity.key, "series", name),
        "StudyID": "1", "SeriesNumber": str(number), "AcquisitionNumber": "1", "PositionReferenceIndicator": "",
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "PixelSpacing": [f"{protocol.pixel:.9f}"[:16]] * 2,
        "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0,
    }  # fmt: skip
    if stir:
        values["InversionTime"] = f"{channel.sequence.ti:g}"
    read, phase = round(protocol.fov / channel.read_mm), round(protocol.fov / channel.phase_mm)
    values["AcquisitionMatrix"] = [0, read, phase, 0] if not protocol.phase_rows else [read, 0, 0, phase]
    for keyword, value in values.items():
        setattr(d, keyword, value)
    return d


def read_stack(folder: Path) -> tuple[NDArray[np.float32], list[FileDataset]]:
    """Return pixels `(slice, row, column)` ventral to dorsal and the headers of one simulated series."""
    files = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    files.sort(key=lambda d: float(d.ImagePositionPatient[1]))
    return np.stack([d.pixel_array for d in files]).astype(np.float32), files
