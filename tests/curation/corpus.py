"""The corpus of bad and awkward input: what a lab may hand over, each case with what becomes of it.

One patient per case. `REFUSED` names the stage and the reason that the report must give, `READ` the image that must
come out all the same. `build` writes them as one cohort, so that none may harm another.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
from numpy.typing import NDArray
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

Edit = Callable[[Any, int], Any]
Fields = dict[str, Any]

#: pydicom's own files: one image in several compressions.
SHIPPED = Path(pydicom.data.__file__).parent / "test_files"

#: Planted in every field that may identify, and in no other place.
SECRETS = ("Zorglub", "19441231", "Rue-des-Secrets", "ACC99887766", "Hopital-Planque", "1.9.8765.4321")


def plant(ds: Any, index: int) -> Any:
    """Fill identifying fields, standard and private, at the top and nested."""
    from pydicom.dataset import Dataset

    ds.PatientName, ds.PatientBirthDate, ds.PatientAddress = "Zorglub^Anna", "19441231", "Rue-des-Secrets 1"
    ds.AccessionNumber, ds.InstitutionName = "ACC99887766", "Hopital-Planque"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "19441231"
    ds.SeriesDescription, ds.StudyDescription = "t1 Zorglub", "for Zorglub"
    ds.ManufacturerModelName, ds.Manufacturer = "Avanto of Zorglub", "SIEMENS Hopital-Planque"
    ds.OperatorsName = ds.ReferringPhysicianName = "Zorglub"
    ds.ScanOptions = ["FS", "Zorglub"] if ds.get("InversionTime") else ["Zorglub"]
    ds.SOPInstanceUID = f"1.9.8765.4321.{index}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.9.8765.4321.1", ds.SeriesInstanceUID
    ds.FrameOfReferenceUID = f"1.9.8765.4321.{ds.FrameOfReferenceUID}"
    block = ds.private_block(0x0029, "ZORGLUB", create=True)
    block.add_new(1, "LO", "Zorglub private")
    nested = Dataset()
    nested.PatientName = "Zorglub"
    ds.RequestAttributesSequence = [nested]
    return ds


def drop(keyword: str) -> Edit:
    def edit(ds: Any, index: int) -> Any:
        delattr(ds, keyword)
        return ds

    return edit


def put(**fields: Any) -> Edit:
    def edit(ds: Any, index: int) -> Any:
        for keyword, value in fields.items():
            setattr(ds, keyword, value)
        return ds

    return edit


def pixels(change: Callable[[NDArray[Any], int], NDArray[Any]]) -> Edit:
    def edit(ds: Any, index: int) -> Any:
        array = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
        ds.PixelData = change(array, index).astype("<u2").tobytes()
        return ds

    return edit


def multiframe(ds: Any, index: int) -> Any:
    """Enhanced MR: all frames in one file, geometry in functional groups that nothing here reads."""
    if index:
        return None
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    ds.NumberOfFrames, ds.PixelData = 6, ds.PixelData * 6
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(ds, keyword)
    return ds


def duplicate(ds: Any, index: int) -> Any:
    if index == 3:
        ds.ImagePositionPatient = [float(v) + 0.001 for v in duplicate.last]  # type: ignore[attr-defined]
    duplicate.last = ds.ImagePositionPatient  # type: ignore[attr-defined]
    return ds


def shear(ds: Any, index: int) -> Any:
    position = list(ds.ImagePositionPatient)
    position[0] += 2.0 * index
    return put(ImagePositionPatient=position)(ds, index)


def tilt_one(ds: Any, index: int) -> Any:
    return put(ImageOrientationPatient=[1, 0, 0, 0, 0.6, -0.8])(ds, index) if index == 2 else ds


def crop_one(ds: Any, index: int) -> Any:
    if index == 2:
        ds.Rows, ds.PixelData = ds.Rows - 2, ds.PixelData[: (ds.Rows - 2) * ds.Columns * 2]
    return ds


def swap(folder: Path) -> None:
    (folder / "T1").rename(folder / "x")
    (folder / "STIR").rename(folder / "T1")
    (folder / "x").rename(folder / "STIR")


def truncate(folder: Path) -> None:
    file = sorted((folder / "STIR").iterdir())[1]
    file.write_bytes(file.read_bytes()[:-200])


def another_series(folder: Path) -> None:
    """The T1 of another examination of the same person, copied into the folder of this one."""
    for file in list((folder / "STIR").iterdir()):
        ds = pydicom.dcmread(file)
        ds.SeriesInstanceUID = "1.2.9"
        ds.save_as(folder / "T1" / f"Z{file.name[1:]}")


#: Name of the patient: changes of T1, changes of STIR, change of the folder, stage and reason in the report.
REFUSED: dict[str, tuple[Fields, Fields, Callable[[Path], Any] | None, str, str]] = {
    "empty-folder": ({}, {}, lambda p: [shutil.rmtree(p / s) for s in ("T1", "STIR")], "images", "no folder T1"),
    "empty-series": ({}, {}, lambda p: [f.unlink() for f in (p / "T1").iterdir()], "images", "T1: the folder is empty"),
    "text-file": (
        {"slices": 0}, {}, lambda p: (p / "T1" / "notes").write_text("x" * 500), "images", "files that are no DICOM",
    ),
    "truncated-file": ({}, {}, truncate, "images", "STIR: .*truncated or damaged"),
    "truncated-file-named-by-uid": (
        {}, {"prefix": "1.9.8765.4321."}, truncate, "images", "STIR: file 2 of 6 by name: .*truncated or damaged",
    ),
    "empty-file": ({}, {}, lambda p: (p / "T1" / "I9999").write_bytes(b""), "images", "T1: I9999: is empty"),
    "no-pixel-data": ({"edit": drop("PixelData")}, {}, None, "images", "no pixel data"),
    "no-position": ({"edit": drop("ImagePositionPatient")}, {}, None, "images", "no usable ImagePositionPatient"),
    "no-spacing": ({"edit": drop("PixelSpacing")}, {}, None, "images", "no usable PixelSpacing"),
    "no-orientation": ({}, {"edit": drop("ImageOrientationPatient")}, None, "images", "no usable ImageOrientation"),
    "position-not-a-number": (
        {"edit": put(ImagePositionPatient=["nan", 0, 0])}, {}, None, "images", "no usable ImagePositionPatient",
    ),
    "duplicate-slices": ({"edit": duplicate}, {}, None, "images", "more than once"),
    "missing-middle-slice": (
        {"edit": lambda d, i: None if i == 3 else d}, {}, None, "images", r"missing or uneven \(.* 5.00 to 10.00",
    ),
    "sheared-stack": ({"edit": shear}, {}, None, "images", "sideways"),
    "two-series-in-one-folder": ({}, {}, another_series, "images", "2 series are mixed"),
    "stir-of-another-patient": ({}, {"patient": "someone else"}, None, "images", "different patient identifiers"),
    "slices-of-two-patients": (
        {"edit": lambda d, i: put(PatientID=str(i // 3))(d, i)}, {}, None, "images", "slices of different patients",
    ),
    "localizer": ({"edit": put(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])}, {}, None, "images", "only localizers"),
    "three-slices": ({"slices": 3}, {}, None, "images", "only 3 slices"),
    "enhanced-multi-frame": ({"edit": multiframe}, {}, None, "images", "multi-frame"),
    "colour": ({"edit": put(SamplesPerPixel=3)}, {}, None, "images", "colour"),
    "ct": ({"edit": put(Modality="CT")}, {}, None, "images", "not an MR image"),
    "axial": ({"tilt": 85.0}, {}, None, "images", "axial"),
    "sagittal": ({"right": (0.0, 1.0, 0.0), "down": (0.0, 0.0, -1.0)}, {}, None, "images", "sagittal"),
    "constant-slices": ({"edit": pixels(lambda a, i: a * 0 + 7)}, {}, None, "images", "every slice is constant"),
    "one-zero-slice": ({}, {"edit": pixels(lambda a, i: a * (i != 2))}, None, "images", "1 of 6 slices are constant"),
    "t1-and-stir-swapped": ({}, {}, swap, "images", "T1: the folder holds a STIR"),
    "no-stir": ({}, {}, lambda p: shutil.rmtree(p / "STIR"), "images", "no folder STIR"),
    "two-orientations": ({"edit": tilt_one}, {}, None, "images", "different orientations"),
    "two-matrices": ({"edit": crop_one}, {}, None, "images", "different matrices"),
    "rescale-slope-zero": ({"edit": put(RescaleSlope=0, RescaleIntercept=0)}, {}, None, "images", "RescaleSlope"),
    "other-frame-of-reference": (
        {}, {"frame": "1.2.3.4", "centre": (3.0, 20.0, -60.0)}, None, "pairing", "do not share a frame",
    ),
    "other-plane": ({}, {"tilt": 5.0}, None, "pairing", "different planes"),
    "stir-elsewhere": ({}, {"centre": (3.0, 300.0, -40.0)}, None, "pairing", "covers only 0%"),
}  # fmt: skip


def syntax(uid: str) -> Edit:
    def edit(ds: Any, index: int) -> Any:
        if uid == RLELossless:
            ds.compress(RLELossless)
        elif uid == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds.file_meta.TransferSyntaxUID = uid
        return ds

    return edit


def shipped(name: str) -> Edit:
    """Every slice holds the compressed image of one of pydicom's files, bit for bit."""

    def edit(ds: Any, index: int) -> Any:
        other = pydicom.dcmread(SHIPPED / name)
        for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
            setattr(ds, keyword, getattr(other, keyword))
        ds["PixelData"] = other["PixelData"]
        ds.file_meta.TransferSyntaxUID = other.file_meta.TransferSyntaxUID
        return ds

    return edit


SHADES = (np.arange(24 * 20) % 251).astype(np.uint8).reshape(24, 20)


def stored(values: NDArray[Any], dtype: str, **fields: Any) -> Edit:
    return put(PixelData=values.astype(dtype).tobytes(), **fields)


def _uncompressed() -> NDArray[Any]:
    return pydicom.dcmread(SHIPPED / "MR_small.dcm").pixel_array


_WIDE: Fields = {"rows": 64, "columns": 64}
#: Name of the patient: changes of T1, changes of STIR, the image of every slice of T1 (none: the ramp of the world).
READ: dict[str, tuple[Fields, Fields, NDArray[Any] | None]] = {
    "implicit-little-endian": ({"edit": syntax(ImplicitVRLittleEndian)}, {}, None),
    "big-endian": ({"edit": syntax(ExplicitVRBigEndian)}, {}, None),
    "deflated": ({"edit": syntax(DeflatedExplicitVRLittleEndian)}, {}, None),
    "rle": ({"edit": syntax(RLELossless)}, {}, None),
    "jpeg-2000": (_WIDE | {"edit": shipped("MR_small_jp2klossless.dcm")}, _WIDE, _uncompressed()),
    "jpeg-ls": (_WIDE | {"edit": shipped("MR_small_jpeg_ls_lossless.dcm")}, _WIDE, _uncompressed()),
    "8-bit": ({"edit": stored(SHADES, "u1", BitsAllocated=8, BitsStored=8, HighBit=7)}, {}, SHADES),
    "signed-pixels": ({"edit": stored(SHADES.astype(int) - 100, "<i2", PixelRepresentation=1)}, {}, SHADES - 100.0),
    "rescale-slope-and-intercept": (
        {"edit": stored(SHADES, "<u2", RescaleSlope=0.5, RescaleIntercept=-3)}, {}, SHADES * 0.5 - 3,
    ),
    "monochrome1": (
        {"edit": stored(4095 - SHADES.astype(int), "<u2", BitsStored=12, HighBit=11,
                        PhotometricInterpretation="MONOCHROME1")}, {}, SHADES,
    ),
    "non-square-matrix": ({"rows": 30, "columns": 18}, {"rows": 30, "columns": 18}, None),
    "anisotropic-pixels": ({"spacing": (5.0, 1.4, 0.7)}, {"spacing": (5.0, 1.4, 0.7)}, None),
    "path with 2 spaces and accents é à ß": ({}, {}, None),
}  # fmt: skip


def build(make: Any, root: Path) -> Path:
    """Write every case as a patient of one cohort; all carry the planted identity."""

    def planted(fields: Fields) -> Fields:
        own = fields.get("edit")

        def edit(ds: Any, index: int) -> Any:
            ds = plant(ds, index)
            return own(ds, index) if own else ds

        return fields | {"edit": edit}

    for name, (t1, stir, change, _, _) in REFUSED.items():
        make.pair(root / name, planted(t1), planted(stir))
        if change:
            change(root / name)
    for name, (t1, stir, _) in READ.items():
        make.pair(root / name, planted(t1), planted(stir))
    return root
