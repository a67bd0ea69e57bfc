"""Algorithm 1: from the masks of sacrum and ilium to the region of interest around each sacro-iliac joint.

Section 3.1.3 of the paper; parameters and the meaning of each line as in the authors' demo. Lengths are fractions of
the columns or pixels of the mask, as there; `config.Joint.reference_pixel_mm` turns pixels into millimetres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from axspa_lib.joint.morphology import (
    Box,
    Mask,
    box,
    centroid,
    close,
    components,
    dilate,
    distance,
    fill_holes,
    largest,
    within,
)
from axspa_lib.study.config import Joint
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import Bone
from axspa_lib.study.volume import Volume

#: Values of a joint mask: image left is the patient's right.
PATIENT_RIGHT, PATIENT_LEFT = 1, 2
#: Value of a joint mask by the patient's side.
SIDE_VALUE = {"R": PATIENT_RIGHT, "L": PATIENT_LEFT}


@dataclass(frozen=True)
class JointTrace:
    """Every named intermediate of Algorithm 1 on one slice; boolean `(row, column)` but for `joint`.

    Attributes:
        iliac: Il, all its components.
        sacrum: Sac.
        contact: the iliac components that have a sacrum next to them.
        opened: their opening, whose lowest component says where the wings begin.
        trimmed: the iliac components in contact without their wings.
        dilated: D(Il).
        extended: D_H(Il).
        union: J = D(Il) | (D_H(Il) & Sac).
        closed: J closed.
        filled: J closed, holes filled.
        joint: uint8, the largest region of each half: 1 image left (patient right), 2 image right (patient left).
    """

    iliac: Mask
    sacrum: Mask
    contact: Mask
    opened: Mask
    trimmed: Mask
    dilated: Mask
    extended: Mask
    union: Mask
    closed: Mask
    filled: Mask
    joint: NDArray[np.uint8]


def extract_joint(bones: NDArray[np.generic], params: Joint, pixel_mm: float | None = None) -> NDArray[np.uint8]:
    """The joint regions of one slice.

    Args:
        bones: `(row, column)` integers: 0 background, 1 sacrum, 2 iliac.
        params: parameters of Algorithm 1.
        pixel_mm: pixel size of the mask; needed only when `params.reference_pixel_mm` is set.

    Returns:
        `(row, column)` uint8: 1 the joint at image left (patient right), 2 at image right (patient left). A side
        without iliac, or whose iliac has no sacrum next to it, stays empty.

    Raises:
        DataError: not two-dimensional, not integers, or other values than 0, 1 and 2.
    """
    mask = _checked(bones)
    joint = np.zeros(mask.shape, np.uint8)
    rows = _rows_that_matter(mask, params, pixel_mm)
    joint[rows] = _algorithm(mask[rows], params, pixel_mm).joint
    return joint


def extract_joints(bones: Volume, params: Joint) -> Volume:
    """The joint regions of every slice of a bone mask `(slice, row, column)`, on its grid, as `extract_joint`."""
    if bones.array.ndim != 3:
        raise DataError(f"a bone mask of shape {bones.array.shape} is not a volume: (slice, row, column) is meant")
    pixel_mm = float(np.sqrt(bones.spacing[1] * bones.spacing[2]))
    joints = np.zeros(bones.array.shape, np.uint8)
    for index, slice_ in enumerate(bones.array):
        joints[index] = extract_joint(slice_, params, pixel_mm)
    return bones.like(joints)


def trace_joint(bones: NDArray[np.generic], params: Joint, pixel_mm: float | None = None) -> JointTrace:
    """Algorithm 1 with all its intermediates; arguments and errors as `extract_joint`."""
    mask = _checked(bones)
    rows = _rows_that_matter(mask, params, pixel_mm)
    found = _algorithm(mask[rows], params, pixel_mm)
    around = [(rows.start, len(mask) - rows.stop), (0, 0)]
    steps = {step.name: np.pad(getattr(found, step.name), around) for step in fields(JointTrace)}
    return JointTrace(**steps | {"iliac": mask == Bone.ILIAC, "sacrum": mask == Bone.SACRUM})


def _algorithm(mask: NDArray[np.uint8], params: Joint, pixel_mm: float | None) -> JointTrace:
    """Algorithm 1 on the rows that matter."""
    dilation, closing = _radii(params, pixel_mm)
    columns = mask.shape[1]
    reach = int(params.horizontal_fraction * columns)
    iliac, sacrum = mask == Bone.ILIAC, mask == Bone.SACRUM
    contact, opened, trimmed, dilated, extended = (np.zeros(mask.shape, bool) for _ in range(5))
    for place, component in components(iliac):
        medial = 1 if centroid(place, component)[1] < columns // 2 else -1
        if not sacrum[_lengthened(place, medial, int(params.contact_fraction * columns))].any():
            continue
        opening = _opening(component, params.wing_fraction)
        kept = component & (np.arange(len(component))[:, None] > _top_of_lowest(opening))
        contact[place] |= component
        opened[place] |= opening
        trimmed[place] |= kept
        if kept.any():
            place, region = _dilated(kept, place, dilation, mask.shape)
            dilated[place] |= region
            _extend(extended, region, place, medial, reach, params.horizontal)
    union = dilated | (extended & sacrum)
    closed, filled = _close_and_fill(union, closing)
    joint = np.zeros(mask.shape, np.uint8)
    for half, value in ((slice(0, columns // 2), PATIENT_RIGHT), (slice(columns // 2, columns), PATIENT_LEFT)):
        joint[:, half][largest(filled[:, half])] = value
    return JointTrace(iliac, sacrum, contact, opened, trimmed, dilated, extended, union, closed, filled, joint)


def _rows_that_matter(mask: NDArray[np.uint8], params: Joint, pixel_mm: float | None) -> slice:
    """The rows of the iliac and around it that no dilation or closing leaves; none where a bone is absent."""
    at = np.flatnonzero((mask == Bone.ILIAC).any(axis=1))
    if not len(at) or not (mask == Bone.SACRUM).any():
        return slice(0, 0)
    margin = sum(_radii(params, pixel_mm)) + 1
    return slice(max(int(at[0]) - margin, 0), min(int(at[-1]) + margin + 1, len(mask)))


def _checked(bones: NDArray[np.generic]) -> NDArray[np.uint8]:
    mask = np.asarray(bones)
    if mask.ndim != 2 or mask.size == 0:
        raise DataError(f"a bone mask of shape {mask.shape} is not a slice: (row, column) is meant")
    if mask.dtype.kind not in "bui":
        raise DataError(
            f"a bone mask of type {mask.dtype} cannot be used: integers 0, 1 (sacrum) and 2 (iliac) are meant"
        )
    if mask.min() < 0 or mask.max() > max(Bone):
        raise DataError(
            f"a bone mask with values from {mask.min()} to {mask.max()} cannot be used: only 0, 1 (sacrum) and "
            "2 (iliac) are meant"
        )
    return mask.astype(np.uint8, copy=False)


def _radii(params: Joint, pixel_mm: float | None) -> tuple[int, int]:
    """Radii of the dilation and the closing in pixels of the mask."""
    if not params.reference_pixel_mm:
        return params.dilation_radius, params.closing_radius
    if pixel_mm is None:
        raise DataError("joint.reference_pixel_mm is set: the pixel size of the mask is needed to extract the joint")
    scale = params.reference_pixel_mm / pixel_mm
    return max(1, round(params.dilation_radius * scale)), max(1, round(params.closing_radius * scale))


def _lengthened(place: Box, medial: int, length: int) -> Box:
    """A box made longer towards the midline (`medial` 1: to the right of the image, -1: to its left)."""
    rows, columns = place
    if medial > 0:
        return rows, slice(columns.start, columns.stop + length)
    return rows, slice(max(columns.start - length, 0), columns.stop)


def _opening(component: Mask, fraction: float) -> Mask:
    """Opening of an iliac component, in its own box, with a disk of `fraction` of the largest radius inscribed in it.

    The radius is looked for along the skeleton. A component that fills its box has no radius and is its own opening.
    """
    inscribed = distance(component)
    if not np.isfinite(inscribed).all():
        return component.copy()
    skeleton = skeletonize(component)
    radius = int(float(inscribed[skeleton if skeleton.any() else component].max()) * fraction)
    radius = min(radius, math.ceil(inscribed.max()) - 1)  # something always remains
    eroded, opening = ~within(inscribed, radius), np.zeros_like(component)
    window = box(eroded, radius)
    opening[window] = dilate(eroded[window], radius)
    return opening


def _top_of_lowest(opening: Mask) -> int:
    """First row of the opening's component with the lowest centroid: the wings lie above."""
    lowest, _ = max(components(opening), key=lambda found: centroid(*found)[0])
    return lowest[0].start


def _dilated(mask: Mask, place: Box, radius: int, shape: tuple[int, ...]) -> tuple[Box, Mask]:
    """Dilate what lies in a box of the image with a disk; gives the larger box and the dilation in it."""
    before = [min(part.start, radius) for part in place]
    after = [min(size - part.stop, radius) for part, size in zip(place, shape, strict=True)]
    rows, columns = (slice(part.start - b, part.stop + a) for part, b, a in zip(place, before, after, strict=True))
    return (rows, columns), dilate(np.pad(mask, list(zip(before, after, strict=True))), radius)


def _extend(extended: Mask, region: Mask, place: Box, medial: int, reach: int, horizontal: str) -> None:
    """Add D_H of a dilated component to `extended`: its box made longer (demo), or each of its rows (the paper)."""
    if horizontal == "box":
        rows, columns = box(region)
        rows = slice(place[0].start + rows.start, place[0].start + rows.stop)
        columns = slice(place[1].start + columns.start, place[1].start + columns.stop)
        extended[_lengthened((rows, columns), medial, reach)] = True
    else:
        whole = np.zeros(extended.shape, np.uint8)
        whole[place] = region
        segment = np.ones((1, reach + 1), np.uint8)
        extended |= cv2.dilate(whole, segment, anchor=(reach if medial > 0 else 0, 0)).view(bool)


def _close_and_fill(union: Mask, radius: int) -> tuple[Mask, Mask]:
    """Closing with a disk, then the holes filled, in a window that holds all of both."""
    closed, filled = union.copy(), union.copy()
    if union.any():
        window = box(union, radius + 1)
        closed[window] = close(union[window], radius)
        filled[window] = fill_holes(closed[window])
    return closed, filled
