"""One DICOM series to a canonical volume: the geometry of its slices checked, every refusal with its own reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from axspa_lib.curation.deidentify import shown_name
from axspa_lib.curation.dicom import Header, NotDicom, read_dataset, read_fields, read_header, read_pixels
from axspa_lib.curation.geometry import to_canonical
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume

#: A stack of fewer slices is a localizer or a fragment (the paper's scans have 12 to 18).
MIN_SLICES = 4

#: Slices nearer than this, in mm, are the same slice.
SAME_POSITION_MM = 0.05

#: Tolerance of the distance between slices, as a share of the median distance.
UNEVEN = 0.1


@dataclass(frozen=True)
class Stack:
    """One series as a canonical volume, with its acquisition fields in BIDS names and units."""

    volume: Volume
    header: Header
    fields: dict[str, Any]
    notes: tuple[str, ...]


def read_stack(paths: Sequence[Path], label: str, anonymous: bool = False) -> Stack:
    """Read the files of one series into a canonical volume.

    Args:
        paths: candidate files; those that are no DICOM are skipped and counted in the notes.
        label: what the series is, for messages (`T1`).
        anonymous: call files by number only, because the folder's names may identify.

    Raises:
        DataError: the files do not make one regular stack; says why.
    """
    headers: list[Header] = []
    pixels: list[NDArray[Any]] = []
    fields: dict[str, Any] = {}
    skipped = 0
    for index, path in enumerate(sorted(paths)):
        try:
            dataset = read_dataset(path)
            header = read_header(path, dataset)
            if "LOCALIZER" in header.image_type:
                skipped += 1
                continue
            pixels.append(read_pixels(path, dataset))
            headers.append(header)
            fields = fields or read_fields(path, dataset)
        except NotDicom:
            skipped += 1
        except DataError as error:
            shown = f"file {index + 1} of {len(paths)}" if anonymous else shown_name(path, index + 1, len(paths))
            raise DataError(f"{label}: {str(error).replace(path.name, shown, 1)}") from None
    if not headers:
        what = "only localizers or files that are no DICOM" if skipped else "no files"
        raise DataError(f"{label}: holds {what}; export the series again")
    try:
        volume, first = _assemble(headers, pixels)
    except DataError as error:
        raise DataError(f"{label}: {error}") from None
    notes = (f"{label}: {skipped} other files skipped",) if skipped else ()
    return Stack(volume, first, fields, notes)


def _assemble(headers: list[Header], pixels: list[NDArray[Any]]) -> tuple[Volume, Header]:
    first = headers[0]
    if len({header.patient for header in headers}) > 1:
        raise DataError("holds slices of different patients; separate them")
    if len({header.series for header in headers}) > 1:
        number = len({header.series for header in headers})
        raise DataError(f"{number} series are mixed in one folder; keep one series per folder")
    if any(header.shape != first.shape for header in headers):
        raise DataError("its slices have different matrices; keep one series per folder")
    orientations = np.array([header.orientation for header in headers])
    if np.abs(orientations - orientations[0]).max() > 1e-3:
        raise DataError("its slices have different orientations (a localizer, or series mixed); keep one series")
    if np.ptp(np.array([header.spacing for header in headers]), axis=0).max() > 1e-3:
        raise DataError("its slices have different pixel spacings; keep one series per folder")
    if len({header.echo for header in headers}) > 1:
        raise DataError("its slices have different echo times; keep one echo per folder")
    if len(headers) < MIN_SLICES:
        raise DataError(f"only {len(headers)} slices (a localizer or a fragment); export the whole series")
    right, down = orientations[0][:3], orientations[0][3:]
    normal = np.cross(right, down)
    positions = np.array([header.position for header in headers])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    positions, along = positions[order], along[order]
    gaps = np.diff(along)
    if (gaps < SAME_POSITION_MM).any():
        count = int((gaps < SAME_POSITION_MM).sum())
        raise DataError(f"{count} slices are there more than once (same position); remove the duplicates")
    gap = float(np.median(gaps))
    if np.abs(gaps - gap).max() > UNEVEN * gap:
        raise DataError(
            f"slices are missing or uneven (distances {gaps.min():.2f} to {gaps.max():.2f} mm); export the whole series"
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    if np.linalg.norm(np.cross(step, normal)) > 0.02 * gap:
        raise DataError("its slices are shifted sideways (sheared stack); export the original series")
    _refuse_blank([pixels[i] for i in order])
    lps = np.eye(4)
    lps[:3, 0] = step
    lps[:3, 1] = down * first.spacing[0]
    lps[:3, 2] = right * first.spacing[1]
    lps[:3, 3] = positions[0]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    array = np.stack([pixels[i] for i in order])
    return to_canonical(array, affine, slice_axis=0), headers[int(order[0])]


def _refuse_blank(slices: Sequence[NDArray[Any]]) -> None:
    blank = [index for index, image in enumerate(slices) if image.min() == image.max()]
    if len(blank) == len(slices):
        raise DataError("every slice is constant (no image in it); export the series again")
    if blank:
        raise DataError(
            f"{len(blank)} of {len(slices)} slices are constant (no image in them); export the series again"
        )
