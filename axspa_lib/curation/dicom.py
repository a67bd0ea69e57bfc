"""One DICOM file: its header checked, its pixels decoded, every refusal with its own reason.

Only the allow-listed tags of `deidentify` are read. Messages name files and numbers, never header text.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from axspa_lib.curation import deidentify as allow
from axspa_lib.study.errors import DataError

P = ParamSpec("P")
T = TypeVar("T")

#: Transfer syntaxes without compressed pixels.
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)

#: Larger files are not a slice of MRI; they are not opened.
MAX_BYTES = 256 * 2**20

_MR = "1.2.840.10008.5.1.4.1.1.4"
_DIRECTORY = "1.2.840.10008.1.3.10"
_STRAY = {".txt", ".csv", ".json", ".xml", ".html", ".htm", ".pdf", ".jpg", ".jpeg", ".png", ".exe", ".dll", ".inf",
          ".ini", ".md", ".log", ".db", ".bmp", ".css", ".js", ".ico", ".bat", ".lnk", ".zip"}  # fmt: skip


class NotDicom(Exception):
    """A file that is something else; it is skipped and counted, not an error of its own."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """pydicom's warnings and log lines can quote header values: none may reach a terminal or a log."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _guarded(read: Callable[P, T]) -> Callable[P, T]:
    """Keep pydicom quiet, and turn what it raises at a damaged value into a sentence without that value."""

    @functools.wraps(read)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        """`read`, whose every failure names the file."""
        try:
            with _quiet():
                return read(*args, **kwargs)
        except (DataError, NotDicom, OSError, MemoryError):
            raise
        except Exception as error:
            name = Path(str(args[0])).name
            raise DataError(f"{name}: damaged DICOM file ({type(error).__name__}); export it again") from None

    return guarded


@dataclass(frozen=True)
class Header:
    """What one DICOM file says of itself; identifiers as digests."""

    path: Path
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    shape: tuple[int, int]
    patient: str
    study: str
    series: str
    frame: str
    image_type: tuple[str, ...]
    description: str
    contrast_agent: bool
    echo: float | None


@_guarded
def read_dataset(path: Path, pixels: bool = True) -> pydicom.Dataset:
    """The allow-listed part of one DICOM file.

    Raises:
        NotDicom: the file is of another kind.
        DataError: it is DICOM (or claims to be) and cannot be read, or changed while it was read.
    """
    try:
        before = path.stat()
        if before.st_size > MAX_BYTES:
            raise NotDicom
        with path.open("rb") as file:
            start = file.read(132)
            marked = start[128:132] == b"DICM"
            if not marked and (path.suffix.lower() in _STRAY or path.name.startswith(".")):
                raise NotDicom
            content = start + file.read()
        after = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path.name}: vanished while it was read; let the export finish and curate again") from None
    except OSError as error:
        raise DataError(f"{path.name}: cannot be opened ({type(error).__name__}); check its permissions") from None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(content) != after.st_size:
        raise DataError(f"{path.name}: changed while it was read; let the export finish and curate again")
    if not content:
        raise DataError(f"{path.name}: is empty; export it again")
    try:
        dataset = _parse(content, pixels)
    except Exception as error:
        if not marked:
            raise NotDicom from None
        raise DataError(f"{path.name}: damaged DICOM file ({type(error).__name__}); export it again") from None
    if "SOPClassUID" not in dataset and "Rows" not in dataset:
        if marked:
            raise DataError(f"{path.name}: damaged or empty DICOM file (no image described); export it again")
        raise NotDicom
    return dataset


@_guarded
def read_header(path: Path, dataset: pydicom.Dataset | None = None) -> Header:
    """Header of one slice, checked.

    Raises:
        NotDicom: the file is of another kind (or a DICOMDIR).
        DataError: it is no single-frame grey MR slice with a position, an orientation and a spacing.
    """
    dataset = dataset if dataset is not None else read_dataset(path, pixels=False)
    name = path.name
    sop = str(dataset.get("SOPClassUID", ""))
    if sop == _DIRECTORY:
        raise NotDicom
    frames = allow.number(dataset, "NumberOfFrames") or 1
    if sop.startswith(_MR + ".") or frames > 1:
        raise DataError(
            f"{name}: multi-frame (enhanced) DICOM; convert it to one file per slice (e.g. dcmtk or dcm4che emf2sf) "
            "or to NIfTI with dcm2niix, and curate that"
        )
    rows, columns = allow.number(dataset, "Rows"), allow.number(dataset, "Columns")
    if not rows or not columns:
        raise DataError(f"{name}: holds no image (no pixel data); take it out of the folder or export it again")
    modality = allow.text(dataset, "Modality").strip().upper()
    if modality and modality != "MR":
        raise DataError(f"{name}: is not an MR image; take it out of the folder")
    if (allow.number(dataset, "SamplesPerPixel") or 1) != 1:
        raise DataError(f"{name}: is a colour image; export the original grey one")
    found: dict[str, list[float]] = {}
    for keyword, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        values = allow.numbers(dataset, keyword, count)
        if values is None:
            raise DataError(f"{name}: has no usable {keyword}; export the original series with its geometry")
        found[keyword] = values
    if min(found["PixelSpacing"]) <= 0:
        raise DataError(f"{name}: has a PixelSpacing that is not positive; export the original series")
    axes = np.reshape(found["ImageOrientationPatient"], (2, 3))
    if np.abs(axes @ axes.T - np.eye(2)).max() > 1e-2:
        raise DataError(
            f"{name}: has an ImageOrientationPatient that is no pair of perpendicular unit vectors; export again"
        )
    return Header(
        path=path,
        position=tuple(found["ImagePositionPatient"]),
        orientation=tuple(found["ImageOrientationPatient"]),
        spacing=tuple(found["PixelSpacing"]),
        shape=(int(rows), int(columns)),
        patient=allow.token(allow.text(dataset, "PatientID")),
        study=allow.token(allow.text(dataset, "StudyInstanceUID")),
        series=allow.token(allow.text(dataset, "SeriesInstanceUID")),
        frame=allow.token(allow.text(dataset, "FrameOfReferenceUID")),
        image_type=tuple(allow.terms(dataset, "ImageType")),
        description=allow.text(dataset, "SeriesDescription").lower(),
        contrast_agent=bool(allow.text(dataset, "ContrastBolusAgent").strip()),
        echo=allow.number(dataset, "EchoTime"),
    )


@_guarded
def read_fields(path: Path, dataset: pydicom.Dataset | None = None) -> dict[str, Any]:
    """Acquisition fields of one file (`deidentify.acquisition`)."""
    return allow.acquisition(dataset if dataset is not None else read_dataset(path, pixels=False))


@_guarded
def identifiers(path: Path) -> tuple[str, str]:
    """Patient and study identifier of a file as they are, for the local map of pseudonyms and nothing else."""
    dataset = read_dataset(path, pixels=False)
    study = allow.text(dataset, "StudyInstanceUID").strip()
    return allow.text(dataset, "PatientID").strip() or study, study


@_guarded
def read_pixels(path: Path, dataset: pydicom.Dataset) -> NDArray[Any]:
    """Pixels `(row, column)` with rescale and MONOCHROME1 undone; integer where the file's scale allows, else float32.

    Raises:
        DataError: no pixel data, truncated, or compressed by a method no installed decoder reads.
    """
    if "PixelData" not in dataset:
        raise DataError(f"{path.name}: holds no pixel data; export the images, not only their headers")
    syntax = UID(str(getattr(dataset.file_meta, "TransferSyntaxUID", ImplicitVRLittleEndian)))
    if int(dataset.Rows) * int(dataset.Columns) > 2**24:
        raise DataError(f"{path.name}: claims {dataset.Rows} x {dataset.Columns} pixels; export it again")
    try:
        array = dataset.pixel_array if _decodable(syntax) else _decoded_by_gdcm(path, dataset)
    except Exception as error:
        if syntax in _NATIVE:
            what = f"pixel data truncated or damaged ({type(error).__name__}); export it again"
        else:
            what = (
                f"pixel data compressed as {_syntax_name(syntax)} and not decoded ({type(error).__name__}), damaged or "
                "of a kind that no decoder here reads; export it uncompressed, or decompress it with `gdcmconv --raw`"
            )
        raise DataError(f"{path.name}: {what}") from None
    if array.ndim != 2:
        raise DataError(
            f"{path.name}: holds {array.ndim}-dimensional pixels where one slice is needed; export it again"
        )
    padding = _padding(array, dataset)
    if allow.text(dataset, "PhotometricInterpretation").strip() == "MONOCHROME1":
        array = _inverted(array, dataset)
    slope = allow.number(dataset, "RescaleSlope")
    intercept = allow.number(dataset, "RescaleIntercept")
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if slope == 0:
        raise DataError(f"{path.name}: has a RescaleSlope of zero; export it again")
    if (slope, intercept) != (1.0, 0.0):
        array = (array * slope + intercept).astype(np.float32)
    if padding is not None:
        array = np.where(padding, min(array[~padding].min(), 0), array).astype(array.dtype)
    return array


def _parse(content: bytes, pixels: bool) -> pydicom.Dataset:
    """Parse a file; without preamble, or without a transfer syntax in its meta header, the syntax is the one found."""
    tags: list[Any] = [*allow.HEADER_TAGS, *(["PixelData"] if pixels else [])]
    dataset = pydicom.dcmread(io.BytesIO(content), force=True, specific_tags=tags, stop_before_pixels=not pixels)
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _padding(array: NDArray[Any], header: Any) -> NDArray[np.bool_] | None:
    """Where stored values are padding (`PixelPaddingValue` to its range limit), if anywhere and not everywhere."""
    value = allow.number(header, "PixelPaddingValue")
    if value is None:
        return None
    limit = allow.number(header, "PixelPaddingRangeLimit")
    bits, signed = array.dtype.itemsize * 8, array.dtype.kind == "i"
    ends = sorted(
        end - 2**bits if signed and end >= 2 ** (bits - 1) else end + 2**bits if not signed and end < 0 else end
        for end in (value, value if limit is None else limit)
    )
    padding = (array >= ends[0]) & (array <= ends[1])
    return padding if padding.any() and not padding.all() else None


def _inverted(array: NDArray[Any], dataset: pydicom.Dataset) -> NDArray[Any]:
    """MONOCHROME1 (bright is low) turned round within the stored range."""
    bits = int(allow.number(dataset, "BitsStored") or array.dtype.itemsize * 8)
    signed = bool(allow.number(dataset, "PixelRepresentation"))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return (low + high - array.astype(np.int32)).astype(np.int32)


def _decodable(syntax: UID) -> bool:
    """Whether pydicom itself reads this transfer syntax with the decoders that are installed."""
    from pydicom.pixels import get_decoder

    try:
        return syntax in _NATIVE or bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _decoded_by_gdcm(path: Path, dataset: pydicom.Dataset) -> NDArray[Any]:
    """Stored values as SimpleITK's GDCM decodes them: JPEG lossless and JPEG-LS, which pydicom needs plugins for."""
    import SimpleITK as sitk

    image = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    slope = allow.number(dataset, "RescaleSlope") or 1.0
    stored = (image.astype(np.float64) - (allow.number(dataset, "RescaleIntercept") or 0.0)) / slope
    return np.rint(stored).astype(np.int32).squeeze(0)


def _syntax_name(syntax: UID) -> str:
    return syntax.name if syntax.is_transfer_syntax else "an unknown transfer syntax"
