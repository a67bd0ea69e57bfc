"""Which pieces of a region mask are pelvis: not L5 with its disc and facets. Masks are bool, `(slice, row, column)`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.measure import label
from skimage.segmentation import watershed

from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import Bone

Mask = NDArray[np.bool_]

#: How far the piece of sacrum and both ilia reaches to either side of the midline, mm.
_SPAN_MM = 45.0
#: A piece above the sacrum of this area is a vertebra, mm^2; one that overlaps two bones by this much holds both.
_L5_MM2, _BOTH_MM2 = 200.0, 60.0
#: A piece farther from the midline than this that nothing precedes is ilium, mm.
_LATERAL_MM = 35.0
#: A central piece behind the sacrum smaller than this is a facet, mm^2.
_FACET_MM2 = 700.0


def midline(mask: Mask) -> float:
    """Return the column of the midline: where the region mirrors itself best."""
    profile = mask.sum(axis=(0, 1)).astype(float)
    columns = len(profile)
    centres = np.arange(columns * 0.4, columns * 0.6, 0.5)
    flat = mask.max(axis=0).astype(np.float32)
    position = np.arange(columns)

    def overlap(centre: float) -> float:
        mirrored = np.round(2 * centre - position).astype(int)
        inside = (mirrored >= 0) & (mirrored < columns)
        return float((flat[:, position[inside]] * flat[:, mirrored[inside]]).sum())

    score = np.array([overlap(centre) for centre in centres])
    return float(centres[score >= score.max() - 1e-6].mean())


def pieces_of(slice_mask: Mask) -> NDArray[np.intp]:
    return label(slice_mask, connectivity=1)


def each_piece(mask: Mask) -> list[Mask]:
    pieces = pieces_of(mask)
    return [pieces == index for index in range(1, pieces.max() + 1)]


def without_lumbar(mask: Mask, t1: NDArray[np.number], middle: float, mm: float) -> Mask:
    """Return the region without L5.

    On the most ventral slice that shows sacrum and both ilia in one piece, every other piece is lumbar. From there
    slice by slice: a piece follows whichever of pelvis and lumbar spine it overlaps on the slice before; one that
    overlaps both is divided along its dark lines (watershed), and one that overlaps neither is pelvis when lateral.
    """
    seed, chosen = _spanning(mask, middle, mm)
    pelvis = np.zeros_like(mask)
    pelvis[seed] = chosen
    for step in (1, -1):
        z = seed + step
        while 0 <= z < len(mask):
            before, lumbar = pelvis[z - step], mask[z - step] & ~pelvis[z - step]
            for piece in each_piece(mask[z]):
                on_pelvis, on_lumbar = piece & before, piece & lumbar
                areas = on_pelvis.sum() * mm**2, on_lumbar.sum() * mm**2
                if min(areas) > _BOTH_MM2:
                    markers = _core(on_pelvis, mm) + 2 * _core(on_lumbar, mm)
                    pelvis[z] |= watershed(-ndi.gaussian_filter(t1[z].astype(np.float32), 1), markers, mask=piece) == 1
                elif areas[0] > areas[1] or (
                    max(areas) == 0 and abs(np.nonzero(piece)[1].mean() - middle) * mm > _LATERAL_MM
                ):
                    pelvis[z] |= piece
            z += step
    return pelvis


def _spanning(mask: Mask, middle: float, mm: float) -> tuple[int, Mask]:
    """The most ventral slice with a piece that spans both sides, one with a vertebra above it if any; and the piece."""
    found: list[tuple[bool, int, Mask]] = []
    for z, plane in enumerate(mask):
        pieces = each_piece(plane)
        piece = max(pieces, key=np.count_nonzero, default=np.zeros_like(plane))
        columns = np.flatnonzero(piece.any(axis=0))
        if not len(columns) or columns[0] > middle - _SPAN_MM / mm or columns[-1] < middle + _SPAN_MM / mm:
            continue
        central = piece[:, abs(np.arange(mask.shape[2]) - middle) < 10 / mm]
        top = np.flatnonzero(central.any(axis=1)).min(initial=0)
        others = [other for other in pieces if other is not piece and other.sum() * mm**2 > _L5_MM2]
        found.append((not any(np.nonzero(other)[0].mean() < top for other in others), z, piece))
    if not found:
        raise DataError("no slice of the region mask shows sacrum and both ilia in one piece; use a mask of all three")
    _, z, piece = min(found, key=lambda candidate: candidate[:2])
    return z, piece


def _core(mask: Mask, mm: float) -> NDArray[np.uint8]:
    """The inner part of a mask, or all of a thin one."""
    inner = ndi.distance_transform_edt(mask) * mm > 2
    return (inner if inner.any() else mask).astype(np.uint8)


def drop_facets(bones: NDArray[np.uint8], middle: float, mm: float, seed: int) -> None:
    """Take out the small central pieces dorsal of the sacrum's body that lie above the ilium's mid-height: facets."""
    for z in range(seed + 1, len(bones)):
        iliac_rows = np.nonzero(bones[z] == Bone.ILIAC)[0]
        for piece in each_piece(bones[z] == Bone.SACRUM):
            rows, columns = np.nonzero(piece)
            central = abs(columns.mean() - middle) * mm < _LATERAL_MM and piece.sum() * mm**2 < _FACET_MM2
            if central and (not len(iliac_rows) or rows.mean() < iliac_rows.mean()):
                bones[z][piece] = Bone.BACKGROUND
