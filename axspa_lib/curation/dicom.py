"""Read and check the headers of a DICOM file; every refusal has its own reason.

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
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from axspa_lib.curation import deidentify as allow
from axspa_lib.curation.identity import is_placeholder
from axspa_lib.study.errors import DataError

P = ParamSpec("P")
T = TypeVar("T")

#: Larger files are not a slice of MRI; they are not opened.
MAX_BYTES = 256 * 2**20

#: SOP class of a single-frame MR image.
MR = "1.2.840.10008.5.1.4.1.1.4"
_DIRECTORY = "1.2.840.10008.1.3.10"
_NO_SCAN = {"PR", "SR", "KO", "OT", "DOC", "SEG", "REG", "RTSTRUCT"}
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


def guarded(read: Callable[P, T]) -> Callable[P, T]:
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


@dataclass(frozen=True, slots=True)
class Header:
    """Header of one slice; identifiers as digests.

    Attributes:
        path: its file.
        index: which frame of the file, or none where the file is one slice.
        people: digest of the birth date, to distinguish two people with one PatientID.
        frame: digest of the frame of reference.
        stated: numbers of series, image and acquisition, and temporal position, as far as stated.
    """

    path: Path
    index: int | None
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    shape: tuple[int, int]
    patient: str
    people: str
    series: str
    frame: str
    sop: str
    stated: tuple[float | None, ...]
    image_type: tuple[str, ...]
    description: str
    contrast_agent: bool
    echo: float | None

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit normal of the plane (LPS)."""
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        return normal / np.linalg.norm(normal)


@guarded
def read_dataset(path: Path, pixels: bool = True) -> pydicom.Dataset:
    """Return the allow-listed part of one DICOM file."""
    try:
        before = path.stat()
        if before.st_size > MAX_BYTES or path.name.upper() == "DICOMDIR":
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


@guarded
def read_headers(path: Path, dataset: pydicom.Dataset | None = None) -> list[Header]:
    """Headers of the slices of one file, checked: one, or as many as there are frames."""
    dataset = dataset if dataset is not None else read_dataset(path, pixels=False)
    sop = str(dataset.get("SOPClassUID", "")).strip()
    kind = UID(sop).name
    other = kind != sop and ("Image Storage" not in kind or "Secondary Capture" in kind)
    drawn = {"SCREEN SAVE", "SCREENSHOT", "SCREEN_SAVE"} & set(allow.terms(dataset, "ImageType"))
    if sop == _DIRECTORY or other or drawn or set(allow.terms(dataset, "Modality")) & _NO_SCAN:
        raise NotDicom
    found = allow.frames(dataset)
    if len(found) == 1 and found[0] is dataset:
        if sop.startswith(MR + ".") or (allow.number(dataset, "NumberOfFrames") or 1) > 1:
            raise DataError(
                f"{path.name}: multi-frame DICOM that does not say where each frame lies; export one file per slice"
            )
        return [_header(path, dataset, None)]
    return [_header(path, header, index) for index, header in enumerate(found)]


def _header(path: Path, dataset: Any, index: int | None) -> Header:
    """Check one slice; `dataset` maps keywords to values."""
    name = path.name
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
    identifier = allow.text(dataset, "PatientID")
    keywords = ("SeriesNumber", "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier")
    return Header(
        path=path,
        index=index,
        position=tuple(found["ImagePositionPatient"]),
        orientation=tuple(found["ImageOrientationPatient"]),
        spacing=tuple(found["PixelSpacing"]),
        shape=(int(rows), int(columns)),
        patient="" if is_placeholder(identifier) else allow.token(identifier),
        people=allow.token(allow.text(dataset, "PatientBirthDate")),
        series=allow.token(allow.text(dataset, "SeriesInstanceUID")),
        frame=allow.token(allow.text(dataset, "FrameOfReferenceUID")),
        sop=allow.token(allow.text(dataset, "SOPInstanceUID")),
        stated=tuple(allow.number(dataset, keyword) for keyword in keywords),
        image_type=tuple(allow.terms(dataset, "ImageType")),
        description=(allow.text(dataset, "SeriesDescription") or allow.text(dataset, "ProtocolName")).lower(),
        contrast_agent=bool(allow.text(dataset, "ContrastBolusAgent").strip()),
        echo=allow.number(dataset, "EchoTime"),
    )


@guarded
def read_fields(path: Path, index: int | None = None, dataset: pydicom.Dataset | None = None) -> dict[str, Any]:
    """Acquisition fields of one slice (`deidentify.acquisition`)."""
    return allow.acquisition(allow.frames(dataset or read_dataset(path, pixels=False))[index or 0])


@guarded
def identifiers(path: Path, dataset: pydicom.Dataset | None = None) -> tuple[str, str, str]:
    """Return the original patient, study and series identifiers, for the local map of pseudonyms only."""
    dataset = dataset if dataset is not None else read_dataset(path, pixels=False)
    found = [allow.text(dataset, keyword).strip() for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")]
    return found[0], found[1], found[2]


def _parse(content: bytes, pixels: bool) -> pydicom.Dataset:
    """Parse a file; without preamble, or without a transfer syntax in its meta header, the syntax is the one found."""
    tags: list[Any] = [*allow.HEADER_TAGS, *(["PixelData"] if pixels else [])]
    dataset = pydicom.dcmread(io.BytesIO(content), force=True, specific_tags=tags, stop_before_pixels=not pixels)
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset
