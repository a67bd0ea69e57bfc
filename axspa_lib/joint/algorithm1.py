"""Algorithm 1: from the masks of sacrum and ilium to the region of interest around each sacro-iliac joint.

Section 3.1.3 of the paper; parameters and the meaning of each line as in the authors' demo. Lengths are fractions of
the columns or pixels of the mask, as there; `config.Joint.reference_pixel_mm` turns pixels into millimetres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from axspa_lib.joint.morphology import (
    Box,
    Mask,
    Piece,
    bounding_box,
    close,
    dilate,
    distance,
    fill_holes,
    largest,
    open_by_distance,
    painted,
    pieces,
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
        iliac: Il, all its pieces.
        sacrum: Sac.
        contact: the iliac pieces that have a sacrum next to them.
        trimmed: the iliac pieces in contact without their wings.
        dilated: D(Il).
        extended: D_H(Il).
        union: J = D(Il) | (D_H(Il) & Sac).
        filled: J closed, holes filled.
        joint: uint8, the largest region of each half: 1 image left (patient right), 2 image right (patient left).
    """

    iliac: Mask
    sacrum: Mask
    contact: Mask
    trimmed: Mask
    dilated: Mask
    extended: Mask
    union: Mask
    filled: Mask
    joint: NDArray[np.uint8]


def extract_joints(bones: Volume, params: Joint) -> Volume:
    """Extract the joint regions of every slice of a bone mask `(slice, row, column)`, on its grid."""
    if bones.array.ndim != 3:
        raise DataError(f"a bone mask of shape {bones.array.shape} is not a volume: expected (slice, row, column)")
    pixel_mm = float(np.sqrt(bones.spacing[1] * bones.spacing[2]))
    joints = np.zeros(bones.array.shape, np.uint8)
    for index, slice_ in enumerate(bones.array):
        joints[index] = extract_joint(slice_, params, pixel_mm)
    return bones.like(joints)


def extract_joint(bones: NDArray[np.generic], params: Joint, pixel_mm: float | None = None) -> NDArray[np.uint8]:
    """Extract the joint regions of one slice.

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
    return trace_joint(bones, params, pixel_mm).joint


def trace_joint(bones: NDArray[np.generic], params: Joint, pixel_mm: float | None = None) -> JointTrace:
    """Run Algorithm 1 and return all its intermediates; arguments and errors as `extract_joint`."""
    mask, params = _checked(bones), radii_in_pixels(params, pixel_mm)
    iliac, sacrum = mask == Bone.ILIAC, mask == Bone.SACRUM
    contact = pieces_next_to_sacrum(iliac, sacrum, params)
    trimmed = [without_wings(piece, params) for piece in contact]
    dilated = [dilate_piece(piece, params, mask.shape) for piece in trimmed]
    extended = extend_to_midline(dilated, params, mask.shape)
    union = painted(dilated, mask.shape) | (extended & sacrum)
    filled = fill_holes(close(union, params.closing_radius))
    return JointTrace(
        iliac=iliac,
        sacrum=sacrum,
        contact=painted(contact, mask.shape),
        trimmed=painted(trimmed, mask.shape),
        dilated=painted(dilated, mask.shape),
        extended=extended,
        union=union,
        filled=filled,
        joint=largest_of_each_side(filled),
    )


def pieces_next_to_sacrum(iliac: Mask, sacrum: Mask, params: Joint) -> list[Piece]:
    """Return the connected iliac pieces whose box, made a little longer towards the midline, holds sacrum."""
    reach = int(params.contact_fraction * iliac.shape[1])
    return [piece for piece in pieces(iliac) if sacrum[_lengthened(piece.box, piece, reach, iliac.shape)].any()]


def without_wings(piece: Piece, params: Joint) -> Piece:
    """Keep what lies below the top of the lowest piece of an opening: the wings lie above.

    The disk of the opening has `params.wing_fraction` of the largest radius inscribed along the skeleton. A piece that
    fills its box has no such radius and is its own opening.
    """
    opening, inscribed = piece.mask, distance(piece.mask)
    if np.isfinite(inscribed).all():
        skeleton = skeletonize(piece.mask)
        radius = int(float(inscribed[skeleton if skeleton.any() else piece.mask].max()) * params.wing_fraction)
        opening = open_by_distance(inscribed, min(radius, math.ceil(inscribed.max()) - 1))  # something always remains
    lowest = max(pieces(opening), key=lambda part: part.centroid[0])
    return replace(piece, mask=piece.mask & (np.arange(len(piece.mask))[:, None] > lowest.box[0].start))


def dilate_piece(piece: Piece, params: Joint, shape: tuple[int, ...]) -> Piece:
    """Dilate an iliac piece of an image of `shape` with a disk: D(Il)."""
    radius = params.dilation_radius
    before = [min(part.start, radius) for part in piece.box]
    after = [min(size - part.stop, radius) for part, size in zip(piece.box, shape, strict=True)]
    rows, columns = (slice(p.start - b, p.stop + a) for p, b, a in zip(piece.box, before, after, strict=True))
    padded = np.pad(piece.mask, list(zip(before, after, strict=True)))
    return replace(piece, box=(rows, columns), mask=dilate(padded, radius))


def extend_to_midline(dilated: list[Piece], params: Joint, shape: tuple[int, ...]) -> Mask:
    """Extend dilated pieces horizontally: the box of each (demo), or each of its rows (the paper): D_H(Il)."""
    reach = int(params.horizontal_fraction * shape[1])
    extended = np.zeros(shape, bool)
    for piece in dilated:
        image = painted([piece], shape)
        if params.horizontal == "line":
            anchor = reach if _is_left(piece, shape) else 0
            segment = np.ones((1, reach + 1), np.uint8)
            extended |= cv2.dilate(image.view(np.uint8), segment, anchor=(anchor, 0)).view(bool)
        elif image.any():
            extended[_lengthened(bounding_box(image), piece, reach, shape)] = True
    return extended


def largest_of_each_side(filled: Mask) -> NDArray[np.uint8]:
    """Return the largest region of each half of the image: 1 image left (patient right), 2 image right."""
    joint = np.zeros(filled.shape, np.uint8)
    middle = filled.shape[1] // 2
    for half, value in ((slice(middle), PATIENT_RIGHT), (slice(middle, None), PATIENT_LEFT)):
        joint[:, half][largest(filled[:, half])] = value
    return joint


def radii_in_pixels(params: Joint, pixel_mm: float | None) -> Joint:
    """Return the parameters with radii in pixels of a mask whose pixels measure `pixel_mm`."""
    if not params.reference_pixel_mm:
        return params
    if pixel_mm is None:
        raise DataError("joint.reference_pixel_mm is set: the pixel size of the mask is needed to extract the joint")
    scale = params.reference_pixel_mm / pixel_mm
    radii = {name: max(1, round(getattr(params, name) * scale)) for name in ("dilation_radius", "closing_radius")}
    return params.model_copy(update=radii)


def _is_left(piece: Piece, shape: tuple[int, ...]) -> bool:
    return piece.centroid[1] < shape[1] // 2


def _lengthened(box: Box, piece: Piece, length: int, shape: tuple[int, ...]) -> Box:
    """Make the box of a piece longer towards the midline of the image."""
    rows, columns = box
    if _is_left(piece, shape):
        return rows, slice(columns.start, columns.stop + length)
    return rows, slice(max(columns.start - length, 0), columns.stop)


def _checked(bones: NDArray[np.generic]) -> NDArray[np.uint8]:
    mask = np.asarray(bones)
    if mask.ndim != 2 or mask.size == 0:
        raise DataError(f"a bone mask of shape {mask.shape} is not a slice: expected (row, column)")
    if mask.dtype.kind not in "bui":
        raise DataError(f"a bone mask of type {mask.dtype} cannot be used: expected integers 0, 1 (sacrum), 2 (iliac)")
    if mask.min() < 0 or mask.max() > max(Bone):
        raise DataError(
            f"a bone mask with values from {mask.min()} to {mask.max()} cannot be used: expected only 0, 1 (sacrum) "
            "and 2 (iliac)"
        )
    return mask.astype(np.uint8, copy=False)
