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

_SURNAMES = (
    "AMBER",
    "BIRCH",
    "CEDAR",
    "DELTA",
    "EMBER",
    "FJORD",
    "GRANITE",
    "HAZEL",
    "INDIGO",
    "JUNIPER",
    "LARCH",
    "MAPLE",
)
_GIVEN = ("ALPHA", "BETA", "GAMMA", "EPSILON", "ZETA", "THETA", "KAPPA", "SIGMA", "OMEGA", "IOTA")


@dataclass(frozen=True)
class Identity:
    """A synthetic person as a hospital would write them."""

    key: str
    name: str
    number: str
    sex: str
    birth: date
    study: date
    weight_kg: float


def draw_identity(key: str, sex: str, age: float, rng: np.random.Generator, session: int = 0) -> Identity:
    """A name, numbers and dates that belong to nobody; session 1, 2, … is a half, a whole year … after the first."""
    study = date(2008, 1, 7) + timedelta(days=int(rng.integers(0, 900)))
    birth = study - timedelta(days=int(age * 365.25) + int(rng.integers(0, 300)))
    name = f"PHANTOM-{_SURNAMES[int(rng.integers(len(_SURNAMES)))]}^{_GIVEN[int(rng.integers(len(_GIVEN)))]}"
    number, weight = f"PH{int(rng.integers(10**7)):07d}", float(np.clip(rng.normal(72, 12), 45, 120))
    return Identity(key, name, number, sex, birth, study + session * timedelta(days=182), weight)


@dataclass(frozen=True)
class Geometry:
    """Where a stack lies in the patient (DICOM LPS, mm).

    Attributes:
        row, column: direction of increasing column index (along a row) and of increasing row index.
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
        """Patient coordinates of a point of the scanner frame."""
        return self.origin + x * self.row + y * self.column + z * self.normal

    def affine(self, protocol: Protocol, x0: float, y0: float) -> NDArray[np.float64]:
        """4 x 4 of `(slice, row, column)` indices to RAS mm, slices ventral to dorsal."""
        lps_to_ras = np.diag([-1.0, -1.0, 1.0])
        out = np.eye(4)
        out[:3, 0] = lps_to_ras @ self.normal * protocol.spacing
        out[:3, 1] = lps_to_ras @ self.column * protocol.pixel
        out[:3, 2] = lps_to_ras @ self.row * protocol.pixel
        out[:3, 3] = lps_to_ras @ self.position(x0, y0, protocol.first_z)
        return out


def oblique(tilt_deg: float, swing_deg: float, origin: NDArray[np.float64], frame: str) -> Geometry:
    """Semi-coronal slices: `tilt_deg` from coronal, cranial end forward; `swing_deg` turns about the feet-head axis."""
    tilt, swing = np.deg2rad(tilt_deg), np.deg2rad(swing_deg)
    row = np.array([np.cos(swing), np.sin(swing), 0.0])
    back = np.array([-np.sin(swing), np.cos(swing), 0.0])
    column = np.sin(tilt) * back - np.cos(tilt) * np.array([0.0, 0.0, 1.0])
    return Geometry(row, column, origin, frame)


def uid(*parts: object) -> UID:
    """A unique identifier that follows from its parts."""
    return generate_uid(entropy_srcs=["axspa-phantom", *map(str, parts)])


def write_series(
    folder: Path,
    pixels: NDArray[np.uint16],
    protocol: Protocol,
    name: str,
    channel: Channel,
    geometry: Geometry,
    identity: Identity,
    corner: tuple[float, float],
    depths: NDArray[np.float64],
    number: int,
) -> None:
    """Write one series, one file per slice, in the order the scanner stored them.

    Args:
        folder: of the series; created.
        pixels: `(slice, row, column)` stored values, ventral to dorsal.
        name: "T1" or "STIR"; `number` the series number.
        corner: x, y (mm) of the first pixel's centre; `depths` z of the slices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = range(len(depths))
    for instance, k in enumerate(reversed(order) if protocol.reversed_order else order, 1):
        dataset = _header(protocol, name, channel, identity, number)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid(identity.key, name, k)
        dataset.InstanceNumber = instance
        position = geometry.position(*corner, float(depths[k]))
        dataset.ImagePositionPatient = [f"{v:.6f}"[:16] for v in position]
        dataset.ImageOrientationPatient = [f"{v:.9f}"[:16] for v in (*geometry.row, *geometry.column)]
        dataset.SliceLocation = f"{float(position @ geometry.normal):.6f}"[:16]
        dataset.FrameOfReferenceUID = geometry.frame
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
    values: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 100",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"] if protocol.normalised else ["ORIGINAL", "PRIMARY", "M"],
        "SOPClassUID": MRImageStorage,
        "StudyDate": day, "SeriesDate": day, "AcquisitionDate": day, "ContentDate": day,
        "StudyTime": "101500", "SeriesTime": f"10{20 + number:02d}00", "AcquisitionTime": f"10{20 + number:02d}00",
        "ContentTime": f"10{20 + number:02d}00",
        "AccessionNumber": identity.number[::-1][:16],
        "Modality": "MR",
        "Manufacturer": protocol.vendor,
        "InstitutionName": f"Phantom hospital {protocol.centre:02d}",
        "ReferringPhysicianName": "PHANTOM^REFERRER",
        "StudyDescription": "SI JOINTS",
        "SeriesDescription": _description(protocol.vendor, stir),
        "OperatorsName": "PHANTOM^OPERATOR",
        "ManufacturerModelName": protocol.model,
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


def _description(vendor: str, stir: bool) -> str:
    names = {
        "SIEMENS": ("t1_tse_cor obl SI", "tirm_cor obl SI"),
        "GE MEDICAL SYSTEMS": ("COR OBL T1 FSE", "COR OBL STIR"),
        "Philips Medical Systems": ("T1W_TSE cor", "STIR_TSE cor"),
    }
    return names.get(vendor, ("T1 cor", "STIR cor"))[stir]


def read_stack(folder: Path) -> tuple[NDArray[np.float32], list[FileDataset]]:
    """Pixels `(slice, row, column)` ventral to dorsal and the headers of one simulated series."""
    files = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    files.sort(key=lambda d: float(d.ImagePositionPatient[1]))
    return np.stack([d.pixel_array for d in files]).astype(np.float32), files
