"""Split a mask of sacrum, ilia and L5 in one region into bones, along the sacro-iliac joint.

The joint is the dark ridge of T1 inside the region. On each slice and side a minimal path runs from above to below the
region; it is cheap on dark ridges and in the clefts between two pieces of the region, dear in marrow, and drawn to the
path of the neighbouring slice. What lies lateral of it is ilium, medial of it sacrum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.filters import sato
from skimage.graph import MCP_Geometric
from skimage.measure import label
from skimage.segmentation import watershed

from axspa_lib.errors import DataError
from axspa_lib.labels import LEFT, RIGHT, SIDES, Bone
from axspa_lib.volume import Volume

Mask = NDArray[np.bool_]
Image = NDArray[np.float32]
Path2D = NDArray[np.intp]

#: Code of each side in the joint volume.
JOINT_CODE = {RIGHT: 1, LEFT: 2}


#: How far the piece of sacrum and both ilia reaches to either side of the midline, mm.
_SPAN_MM = 45.0
#: A piece above the sacrum of this area is a vertebra, mm^2; one that overlaps two bones by this much holds both.
_L5_MM2, _BOTH_MM2 = 200.0, 60.0
#: A piece farther from the midline than this that nothing precedes is ilium, mm.
_LATERAL_MM = 35.0
#: A central piece behind the sacrum smaller than this is a facet, mm^2.
_FACET_MM2 = 500.0


@dataclass(frozen=True)
class SplitParameters:
    """Lengths in mm, costs per pixel of path relative to marrow.

    Attributes:
        level_mm: width of the neighbourhood that defines the level of marrow.
        exponent: how much darker pixels are preferred: cost = (T1 / level) ** exponent.
        ridge_discount: share of the cost that a full ridge takes off.
        outside: cost outside the region; as dear as marrow, so a path does not go around a bone.
        cleft: cost between two pieces of the region closer than `cleft_mm`.
        cleft_mm: width of a cleft that is bridged.
        cleft_from_mm: clefts nearer to the midline are foramina.
        edge_mm: width of the lateral cortex of the ilium, as dear as marrow although dark.
        neighbour: added cost per mm of distance from the path of the neighbouring slice, up to `neighbour_cap`.
        neighbour_cap: largest added cost.
        start_mm: distance of the joint from the midline on the first slice, with `start` cost per mm off it.
        start: see `start_mm`.
        sweeps: rounds over all slices.
        thin_mm: a piece of sacrum thinner than this lateral of every other is cortical bone of the ilium.
        contact_mm: a path pixel belongs to the joint when both bones lie within this distance.
        max_contrast: largest ratio of T1 on the line to that of its flanks that counts as seen.
        max_jump_mm: largest mean distance from the joints of neighbouring slices.
        min_joint_mm: shortest contact that is called a joint.
        min_seen: smallest share of the line that must be seen.
    """

    level_mm: float = 12.0
    exponent: float = 3.0
    ridge_discount: float = 0.7
    outside: float = 1.0
    cleft: float = 0.15
    cleft_mm: float = 14.0
    cleft_from_mm: float = 30.0
    edge_mm: float = 4.0
    neighbour: float = 0.06
    neighbour_cap: float = 1.0
    start_mm: float = 52.0
    start: float = 0.03
    sweeps: int = 3
    thin_mm: float = 5.0
    contact_mm: float = 5.0
    max_contrast: float = 0.85
    max_jump_mm: float = 4.0
    min_joint_mm: float = 8.0
    min_seen: float = 0.6


@dataclass(frozen=True)
class BoneSplit:
    """A split region.

    Attributes:
        bones: `labels.Bone` on the grid of T1; L5 and its facets are background.
        joint: the line between the bones, 1 on the patient's right, 2 on the left (`JOINT_CODE`).
        trusted: one row per slice and side that holds region: `slice, side, trusted, reason, joint_mm, seen,
            jump_mm`; `joint_mm` is 0 where the slice shows no joint.
    """

    bones: Volume
    joint: Volume
    trusted: pd.DataFrame


def split_bones(t1: Volume, region: Volume, parameters: SplitParameters | None = None) -> BoneSplit:
    """Split a region of sacrum, ilia, joints and L5 into bones.

    Args:
        t1: canonical T1.
        region: its region mask on the same grid; anything above 0 is region.
        parameters: lengths and costs.

    Raises:
        DataError: the grids differ, or no slice shows sacrum and both ilia in one piece.
    """
    if t1.array.shape != region.array.shape or not np.allclose(t1.affine, region.affine, atol=0.05):
        raise DataError("the region mask lies on another grid than T1: use the mask drawn on this scan")
    p = parameters or SplitParameters()
    mm = float(np.mean(t1.spacing[1:]))
    mask = region.array > 0
    middle = _midline(mask)
    pelvis = _without_lumbar(mask, t1.array, middle, mm)
    seed = int(pelvis.sum(axis=(1, 2)).argmax())
    costs, shade = _costs(t1.array, pelvis, middle, mm, p)
    paths = {side: _sweep(costs, pelvis, seed, middle, side, mm, p) for side in SIDES}
    bones = np.zeros(mask.shape, np.uint8)
    for side in SIDES:
        _paint(bones, pelvis, paths[side], middle, side, mm, p)
    _drop_facets(bones, middle, mm, seed)
    joint = np.zeros(mask.shape, np.uint8)
    rows = []
    for side in SIDES:
        half = _half(mask.shape[2], middle, side)
        lines = {z: _joint_line(path, bones[z], half, mm, p) for z, path in paths[side].items()}
        for z, line in sorted(lines.items()):
            joint[z][line[:, 0], line[:, 1]] = JOINT_CODE[side]
            near = [lines[n] for n in (z - 1, z + 1) if n in lines]
            rows.append({"slice": z, "side": side} | _judge(line, near, bones[z], shade[z], half, mm, p))
    return BoneSplit(t1.like(bones), t1.like(joint), pd.DataFrame(rows))


def _midline(mask: Mask) -> float:
    """Column of the midline: where the region mirrors itself best."""
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


def _pieces(slice_mask: Mask) -> NDArray[np.intp]:
    return label(slice_mask, connectivity=1)


def _without_lumbar(mask: Mask, t1: NDArray[np.number], middle: float, mm: float) -> Mask:
    """The region without L5.

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
            for piece in _each(mask[z]):
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
        pieces = _each(plane)
        piece = max(pieces, key=np.count_nonzero, default=np.zeros_like(plane))
        columns = np.flatnonzero(piece.any(axis=0))
        if not len(columns) or columns[0] > middle - _SPAN_MM / mm or columns[-1] < middle + _SPAN_MM / mm:
            continue
        central = piece[:, abs(np.arange(mask.shape[2]) - middle) < 10 / mm]
        top = np.flatnonzero(central.any(axis=1)).min(initial=0)
        others = [other for other in pieces if other is not piece and other.sum() * mm**2 > _L5_MM2]
        found.append((not any(np.nonzero(other)[0].mean() < top for other in others), z, piece))
    if not found:
        raise DataError("no slice of the region mask shows sacrum and both ilia in one piece: use a mask of all three")
    _, z, piece = min(found, key=lambda candidate: candidate[:2])
    return z, piece


def _core(mask: Mask, mm: float) -> NDArray[np.uint8]:
    """The inner part of a mask, or all of a thin one."""
    inner = ndi.distance_transform_edt(mask) * mm > 2
    return (inner if inner.any() else mask).astype(np.uint8)


def _costs(t1: NDArray[np.number], pelvis: Mask, middle: float, mm: float, p: SplitParameters) -> tuple[Image, Image]:
    """Cost of a path pixel, and T1 relative to the level of marrow around it (1 outside the region)."""
    cost = np.full(t1.shape, p.outside, np.float32)
    shade = np.ones(t1.shape, np.float32)
    lateral = abs(np.arange(t1.shape[2]) - middle) * mm
    for z, plane in enumerate(pelvis):
        if not plane.any():
            continue
        weight = ndi.gaussian_filter(plane.astype(np.float32), p.level_mm / mm)
        level = ndi.gaussian_filter(np.where(plane, t1[z], 0).astype(np.float32), p.level_mm / mm)
        relative = np.where(plane, t1[z] * weight / np.maximum(level, 1e-6), 1).astype(np.float32)
        shade[z] = np.clip(ndi.gaussian_filter(relative, 0.6 / mm), 0, 1.3)
        ridge = sato(relative, sigmas=[0.9 / mm, 1.5 / mm], black_ridges=True)
        depth = ndi.distance_transform_edt(_closed(plane, p.cleft_mm / 2 / mm)) * mm
        ridge = np.clip(ridge / 0.25, 0, 1) * np.clip((depth - 1) / 1.5, 0, 1)
        cost[z][plane] = (0.03 + shade[z] ** p.exponent * (1 - p.ridge_discount * ridge))[plane]
        cost[z][(depth > 0) & ~plane & (lateral > p.cleft_from_mm)] = p.cleft
        cost[z][_outer_edge(plane, middle, p.edge_mm / mm)] = p.outside
    return cost, shade


def _closed(mask: Mask, radius: float) -> Mask:
    """Closing by a disk, by distance transforms; the frame keeps the border of the image from closing."""
    pad = int(np.ceil(radius)) + 1
    grown = ndi.distance_transform_edt(~np.pad(mask, pad)) <= radius
    return (ndi.distance_transform_edt(grown) > radius)[pad:-pad, pad:-pad] | mask


def _outer_edge(mask: Mask, middle: float, width: float) -> Mask:
    """The lateral cortex: pixels within `width` columns of the lateral end of the region on their row and side."""
    columns = np.arange(mask.shape[1])
    first, last = mask.argmax(axis=1)[:, None], mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)[:, None]
    right, left = (columns < middle) & (columns <= first + width), (columns > middle) & (columns >= last - width)
    return mask & (right | left)


def _sweep(
    costs: Image, pelvis: Mask, seed: int, middle: float, side: str, mm: float, p: SplitParameters
) -> dict[int, Path2D]:
    """Path `(n, 2)` of row and column per slice: from the seed slice outwards, then again with both neighbours."""
    columns = np.arange(costs.shape[2])
    half = columns < middle if side == RIGHT else columns > middle
    lateral = np.abs(columns - middle) * mm
    start = np.broadcast_to(p.start * np.abs(lateral - p.start_mm), costs.shape[1:])
    paths: dict[int, Path2D] = {}
    order = [seed, *range(seed + 1, len(costs)), *range(seed - 1, -1, -1)]
    for _ in range(p.sweeps):
        for z in order:
            if not (pelvis[z] & half & (lateral > 25)).any():
                continue
            near = [paths[n] for n in (z - 1, z + 1) if n in paths]
            if near:
                pull = np.mean(
                    [np.minimum(p.neighbour * mm * _distance(n, costs.shape[1:]), p.neighbour_cap) for n in near],
                    axis=0,
                )
            else:
                pull = start
            paths[z] = _path(np.where(half, costs[z] + pull, np.inf))
    return paths


def _distance(path: Path2D, shape: tuple[int, ...]) -> NDArray[np.float64]:
    drawn = np.ones(shape, bool)
    drawn[path[:, 0], path[:, 1]] = False
    return ndi.distance_transform_edt(drawn)


def _path(cost: NDArray[np.float64]) -> Path2D:
    """Cheapest path from the first row to the last; these two rows themselves are nearly free."""
    cost = cost.copy()
    for row in (0, -1):
        cost[row, np.isfinite(cost[row])] = 1e-3
    open_columns = np.flatnonzero(np.isfinite(cost[0]))
    search = MCP_Geometric(cost)
    search.find_costs([(0, int(open_columns[0]))], [(len(cost) - 1, int(open_columns[0]))])
    path = np.array(search.traceback((len(cost) - 1, int(open_columns[0]))))
    inner = (path[:, 0] > 0) & (path[:, 0] < len(cost) - 1)
    first, last = np.flatnonzero(inner)[[0, -1]]
    return path[first - 1 : last + 2]


def _paint(
    bones: NDArray[np.uint8],
    pelvis: Mask,
    paths: dict[int, Path2D],
    middle: float,
    side: str,
    mm: float,
    p: SplitParameters,
) -> None:
    """Ilium lateral of each path, sacrum medial; cortical slivers and what no sacrum precedes are ilium."""
    half = _half(pelvis.shape[2], middle, side)
    seed = int(pelvis.sum(axis=(1, 2)).argmax())
    for z in [*range(seed, len(bones)), *range(seed - 1, -1, -1)]:
        own = pelvis[z] & half
        if z not in paths:
            bones[z][own] = Bone.SACRUM
            continue
        lateral = _lateral(paths[z], own.shape, side)
        before = bones[z - np.sign(z - seed)] == Bone.SACRUM if z != seed else own
        touching = ndi.binary_dilation(lateral & own, iterations=2)
        for piece in _each(own & ~lateral):
            thin = 2 * ndi.distance_transform_edt(np.pad(piece, 1)).max() * mm < p.thin_mm
            if thin or ((piece & touching).any() and (piece & before).sum() < 0.3 * piece.sum()):
                lateral |= piece
        bones[z][own & lateral] = Bone.ILIAC
        bones[z][own & ~lateral] = Bone.SACRUM


def _half(columns: int, middle: float, side: str) -> Mask:
    return np.arange(columns) < middle if side == RIGHT else np.arange(columns) > middle


def _lateral(path: Path2D, shape: tuple[int, ...], side: str) -> Mask:
    """Pixels lateral of a path, the path included."""
    drawn = np.zeros(shape, bool)
    drawn[path[:, 0], path[:, 1]] = True
    sides = _pieces(~drawn)
    edge = sides[:, 0 if side == RIGHT else -1]
    return np.isin(sides, edge[edge > 0]) | drawn


def _each(mask: Mask) -> list[Mask]:
    pieces = _pieces(mask)
    return [pieces == index for index in range(1, pieces.max() + 1)]


def _drop_facets(bones: NDArray[np.uint8], middle: float, mm: float, seed: int) -> None:
    """Take out the small central pieces dorsal of the sacrum's body that lie above the ilium's mid-height: facets."""
    for z in range(seed + 1, len(bones)):
        iliac_rows = np.nonzero(bones[z] == Bone.ILIAC)[0]
        for piece in _each(bones[z] == Bone.SACRUM):
            rows, columns = np.nonzero(piece)
            central = abs(columns.mean() - middle) * mm < _LATERAL_MM and piece.sum() * mm**2 < _FACET_MM2
            if central and (not len(iliac_rows) or rows.mean() < iliac_rows.mean()):
                bones[z][piece] = Bone.BACKGROUND


def _joint_line(path: Path2D, bones: NDArray[np.uint8], half: Mask, mm: float, p: SplitParameters) -> Path2D:
    """The stretch of a path that has ilium on one side and sacrum on the other within `contact_mm`."""
    near = np.ones(len(path), bool)
    for bone in (Bone.ILIAC, Bone.SACRUM):
        own = (bones == bone) & half
        if not own.any():
            return path[:0]
        near &= (ndi.distance_transform_edt(~own) * mm)[path[:, 0], path[:, 1]] <= p.contact_mm
    return path[near] if near.sum() * mm >= p.min_joint_mm else path[:0]


def _judge(
    line: Path2D, near: list[Path2D], bones: NDArray[np.uint8], shade: Image, half: Mask, mm: float, p: SplitParameters
) -> dict[str, object]:
    """How far a joint line can be trusted: is it dark between brighter bones, and where its neighbours have it."""
    if not len(line):
        return {"trusted": True, "reason": "no joint on this slice", "joint_mm": 0.0, "seen": np.nan, "jump_mm": np.nan}
    distance = _distance(line, bones.shape) * mm
    flanks = [
        np.median(shade[(bones == bone) & half & (distance > 4) & (distance < 10)]) if ring.any() else 1.0
        for bone in (Bone.ILIAC, Bone.SACRUM)
        for ring in [(bones == bone) & half & (distance > 4) & (distance < 10)]
    ]
    in_cleft = bones[line[:, 0], line[:, 1]] == Bone.BACKGROUND
    seen = float((in_cleft | (shade[line[:, 0], line[:, 1]] < p.max_contrast * np.mean(flanks))).mean())
    jumps = [float((_distance(n, bones.shape) * mm)[line[:, 0], line[:, 1]].mean()) for n in near if len(n)]
    jump = min(jumps) if jumps else np.nan
    reason = ""
    if seen < p.min_seen:
        reason = f"only {seen:.0%} of the line is darker than the marrow beside it"
    elif jump > p.max_jump_mm:
        reason = f"the line lies {jump:.1f} mm from those of the neighbouring slices"
    return {"trusted": not reason, "reason": reason, "joint_mm": len(line) * mm, "seen": seen, "jump_mm": jump}
