"""Slices to stacks: which slices make one, and one stack to a canonical volume; every refusal has its own reason."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from axspa_lib.curation import deidentify as allow
from axspa_lib.curation.dicom import Header, NotDicom, read_dataset, read_fields, read_headers
from axspa_lib.curation.dicom_pixels import read_pixels
from axspa_lib.curation.geometry import to_canonical
from axspa_lib.curation.identity import shown_name
from axspa_lib.curation.series import MIN_SLICES, Candidate, angle
from axspa_lib.curation.tolerance import (
    MAX_PLANE_ANGLE,
    SAME_ECHO_MS,
    SAME_GRID,
    SAME_POSITION_MM,
    UNEVEN,
    cluster,
    fill_background,
)
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume


@dataclass(frozen=True)
class Stack:
    """One series as a canonical volume, with its acquisition fields in BIDS names and units."""

    volume: Volume
    header: Header
    fields: dict[str, Any]
    notes: tuple[str, ...]
    first_known: bool = False


def read_folder(paths: Sequence[Path], label: str, keep: dict[Path, Dataset]) -> tuple[list[Header], list[str]]:
    """Headers of the files of one folder, localizers and files of other kinds left out, and a note on these.

    Every file is read once: what was read is added to `keep`.
    """
    headers: list[Header] = []
    skipped = 0
    for number, path in enumerate(sorted(paths), start=1):
        try:
            dataset = read_dataset(path)
            found = [header for header in read_headers(path, dataset) if "LOCALIZER" not in header.image_type]
            keep |= {path: dataset} if found else {}
            headers += found
            skipped += not found
        except NotDicom:
            skipped += 1
        except DataError as error:
            shown = str(error).replace(path.name, shown_name(path, number, len(paths)), 1)
            raise DataError(f"{label}: {shown}") from None
    if not headers:
        what = "only localizers or files that are no DICOM" if skipped else "no files"
        raise DataError(f"{label}: holds {what}; export the series again")
    if len({header.patient for header in headers}) > 1:
        raise DataError(f"{label}: holds slices of different patients; separate them")
    if len({header.series for header in headers}) > 1:
        number = len({header.series for header in headers})
        raise DataError(f"{label}: {number} series are mixed in one folder; keep one series per folder")
    return headers, [f"{label}: {skipped} other files skipped"] if skipped else []


def split(headers: Sequence[Header]) -> list[list[Header]]:
    """Divide slices into stacks: by series, matrix and grid; where positions repeat, by kind of image, echo, repeat."""
    parts = _by(headers, lambda header: (header.series, header.shape))
    parts = [
        [part[i] for i in group]
        for part in parts
        for group in cluster([(*header.orientation, *header.spacing) for header in part], SAME_GRID)
    ]
    echoes = {id(header): group for part in parts for group, header in _echoes(part)}
    divisions: list[Callable[[Header], Any]] = [
        lambda header: header.image_type,
        lambda header: echoes[id(header)],
        lambda header: header.stated[2],
        lambda header: header.stated[3],
    ]
    for division in divisions:
        parts = [smaller for part in parts for smaller in (_by(part, division) if _repeats(part) else [part])]
    return parts


def candidate(
    part: Sequence[Header], whole: Sequence[Header], hint: str = "", keep: Mapping[Path, Dataset] | None = None
) -> Candidate:
    """Describe a stack for the choice; its fields are those of its first file."""
    first = min(part, key=lambda header: (header.position, str(header.path), header.index or 0))
    number = "" if first.stated[0] is None else f"{first.stated[0]:.0f}"
    if len({header.stated[2] for header in whole if header.series == first.series}) > 1 and first.stated[2] is not None:
        number += f" acquisition {first.stated[2]:.0f}"
    return Candidate(
        key=list(part),
        fields=read_fields(first.path, first.index, (keep or {}).get(first.path)),
        words=first.description,
        image_type=first.image_type,
        contrast_agent=any(header.contrast_agent for header in part),
        normal=tuple(first.normal),
        shape=(len(_places(part)), *first.shape),
        number=number.strip(),
        frame=first.frame,
        hint=hint,
    )


def read_stack(
    paths: Sequence[Path], label: str, one: Candidate | None = None, whole: Sequence[Header] = (),
    keep: dict[Path, Dataset] | None = None, anonymous: bool = False,
) -> Stack:  # fmt: skip
    """Read one series into a canonical volume.

    Args:
        paths: candidate files; those that are no DICOM are skipped and counted in the notes.
        label: what the series is, for messages (`T1`).
        one: the stack to read, where it is known; instead of `paths`.
        whole: all slices of the examination, to see whether the stack misses some.
        keep: files that are read already.
        anonymous: call files by number only, because the folder's names may identify.
    """
    notes: list[str] = []
    keep = {} if keep is None else keep
    if one is None:
        whole, notes = read_folder(paths, label, keep)
        one = candidate(max(split(whole), key=len), whole, keep=keep)
    headers: list[Header] = one.key
    paths = sorted({header.path for header in headers})
    pixels: dict[tuple[Path, int | None], NDArray[Any]] = {}
    for number, path in enumerate(paths, start=1):
        try:
            dataset = keep.pop(path, None) or read_dataset(path)
            frames = allow.frames(dataset)
            for header in (header for header in headers if header.path == path):
                pixels[path, header.index] = read_pixels(path, dataset, header.index, frames[header.index or 0])
        except (DataError, NotDicom) as error:
            shown = f"file {number} of {len(paths)}" if anonymous else shown_name(path, number, len(paths))
            raise DataError(f"{label}: {str(error).replace(path.name, shown, 1)}") from None
    try:
        _refuse_fragments(headers, whole)
        _refuse_missing(headers, whole)
        once = _once(headers, pixels)
        if len(once) < len(headers):
            notes.append(f"{label}: {len(headers) - len(once)} files are there twice, used once")
        volume, filled = _assemble(once, [pixels[header.path, header.index] for header in once])
    except DataError as error:
        raise DataError(f"{label}: {error}") from None
    if filled:
        notes.append(f"{label}: {filled} voxels of padding made background")
    front = min(once, key=lambda header: header.position[1])
    return Stack(volume, front, dict(one.fields), tuple(notes), front.stated[1] in (0.0, 1.0))


def _by(headers: Sequence[Header], key: Callable[[Header], Any]) -> list[list[Header]]:
    """Divide by a key, in the order of the key."""
    groups: dict[Any, list[Header]] = {}
    for header in headers:
        groups.setdefault(key(header), []).append(header)
    return [groups[name] for name in sorted(groups, key=repr)]


def _echoes(part: Sequence[Header]) -> list[tuple[int, Header]]:
    groups = cluster([(header.echo or 0.0,) for header in part], SAME_ECHO_MS)
    return [(number, part[i]) for number, group in enumerate(groups) for i in group]


def _along(headers: Sequence[Header]) -> NDArray[np.float64]:
    return np.array([header.position for header in headers]) @ headers[0].normal


def _places(headers: Sequence[Header]) -> list[float]:
    """Different positions along the normal, mm."""
    places = np.sort(_along(headers))
    return [float(places[0]), *places[1:][np.diff(places) >= SAME_POSITION_MM].tolist()]


def _repeats(headers: Sequence[Header]) -> bool:
    """Return whether different slices share one position (copies by SOPInstanceUID do not count)."""
    different = {(header.sop or str(header.path), header.index): header for header in headers}
    return len(_places(headers)) < len(different)


def _once(headers: Sequence[Header], pixels: dict[tuple[Path, int | None], NDArray[Any]]) -> list[Header]:
    """Order slices along the normal; of slices at one position with the same pixels keep one."""
    along = _along(headers)
    kept: list[tuple[float, Header]] = []
    different = 0
    for place, header in sorted(zip(along.tolist(), headers, strict=True), key=lambda item: (item[0], item[1].path)):
        if kept and place - kept[-1][0] < SAME_POSITION_MM:
            other = kept[-1][1]
            different += not np.array_equal(pixels[other.path, other.index], pixels[header.path, header.index])
        else:
            kept.append((place, header))
    if different:
        raise DataError(f"{different} slices are there more than once (same position, other image); keep one of each")
    return [header for _, header in kept]


def _refuse_fragments(headers: Sequence[Header], whole: Sequence[Header]) -> None:
    """Refuse a stack beside which slices of its series lie that fit no stack: they may be its own."""
    first, mine = headers[0], {id(header) for header in headers}
    for part in split([header for header in whole if header.series == first.series]):
        other = part[0]
        if id(other) in mine or len(_places(part)) >= MIN_SLICES:
            continue
        if len(headers) >= MIN_SLICES and angle(first.normal, other.normal) > MAX_PLANE_ANGLE:
            continue
        if other.shape != first.shape:
            raise DataError("its slices have different matrices; keep one series per folder")
        if np.abs(np.subtract(other.spacing, first.spacing)).max() > SAME_GRID:
            raise DataError("its slices have different pixel spacings; keep one series per folder")
        if np.abs(np.subtract(other.orientation, first.orientation)).max() > SAME_GRID:
            raise DataError("its slices have different orientations (a localizer, or series mixed); keep one series")
        raise DataError("slices are there more than once (same position, another acquisition); keep one of each")


def _refuse_missing(headers: Sequence[Header], whole: Sequence[Header]) -> None:
    """Refuse a stack when the image numbers of its series leave gaps or begin late."""
    series = [header for header in whole if header.series == headers[0].series and header.index is None]
    numbers = {int(header.stated[1]) for header in series if header.stated[1] is not None}
    unique = len({header.stated[1] for header in headers}) >= len(_places(headers))
    if not numbers or not unique or max(numbers) > 2 * len(numbers):
        return
    missing = sorted(set(range(1, max(numbers))) - numbers)
    if missing:
        named = ", ".join(map(str, missing[:5]))
        raise DataError(f"slices are missing (no image with the InstanceNumber {named}); export the whole series")


def _assemble(headers: list[Header], pixels: list[NDArray[Any]]) -> tuple[Volume, int]:
    """Stack ordered slices; return the volume and the number of voxels that were padding."""
    first = headers[0]
    if len({group for group, _ in _echoes(headers)}) > 1:
        raise DataError("its slices have different echo times; keep one echo per folder")
    if len(headers) < MIN_SLICES:
        raise DataError(f"only {len(headers)} slices (a localizer or a fragment); export the whole series")
    right, down = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = first.normal
    positions = np.array([header.position for header in headers])
    gaps = np.diff(positions @ normal)
    gap = float(np.median(gaps))
    if np.abs(gaps - gap).max() > UNEVEN * gap:
        raise DataError(
            f"slices are missing or uneven (distances {gaps.min():.2f} to {gaps.max():.2f} mm); export the whole series"
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    if np.linalg.norm(np.cross(step, normal)) > 0.02 * gap:
        raise DataError("its slices are shifted sideways (sheared stack); export the original series")
    _refuse_blank(pixels)
    lps = np.eye(4)
    lps[:3, 0] = step
    lps[:3, 1] = down * first.spacing[0]
    lps[:3, 2] = right * first.spacing[1]
    lps[:3, 3] = positions[0]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    array, filled = fill_background(np.stack(pixels))
    return to_canonical(array, affine, slice_axis=0), filled


def _refuse_blank(slices: Sequence[NDArray[Any]]) -> None:
    blank = [index for index, image in enumerate(slices) if image.min() == image.max()]
    if len(blank) == len(slices):
        raise DataError("every slice is constant (no image in it); export the series again")
    if blank:
        raise DataError(
            f"{len(blank)} of {len(slices)} slices are constant (no image in them); export the series again"
        )


def pixel_digest(headers: Sequence[Header]) -> str:
    """Checksum of the pixels of a stack, by which two copies are known."""
    found = sorted((header.position, header.path, header.index) for header in headers)
    datasets = {path: read_dataset(path) for _, path, _ in found}
    images = [read_pixels(path, datasets[path], index).tobytes() for _, path, index in found]
    return hashlib.sha256(b"".join(dict.fromkeys(images))).hexdigest()
