"""The object: a person's slices as water and fat on a grid, and the truth on the grid of the reconstructed image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.labels import LEFT, RIGHT, SIDES, Bone
from axspa_lib.phantom import bowel
from axspa_lib.phantom.anatomy import JOINT_POINTS, SIGN, Body, Points, template
from axspa_lib.phantom.disease import Lesion, mixture
from axspa_lib.phantom.materials import Materials, Texture
from axspa_lib.phantom.paint import Canvas, Region, fill, offset, offset_line
from axspa_lib.phantom.texture import Field, Grid, smoothstep
from axspa_lib.phantom.tissues import Sequence

#: Sub-slices over which a slice is integrated.
SUB_SLICES = 3
#: Thickness of the cortical shell of sacrum and ilium, mm.
CORTEX_MM = 1.0
#: Opacity above which a voxel belongs to a lesion.
LESION_LEVEL = 0.35


@dataclass(frozen=True)
class Bones:
    """Outlines of the bones and joint lines in one slice; None where the slice misses them."""

    sacrum: Points | None
    ilium: dict[str, Points | None]
    joint: dict[str, Points | None]
    extent: dict[str, tuple[float, float] | None]


def bones_at(body: Body, z: float) -> Bones:
    """Cut both bones at z; their facing edges are the joint line moved apart by half the joint space."""
    t, gap = template(), body.subject.joint_gap_mm / 2
    joint = {side: body.joint(z, side) for side in SIDES}
    extent = {side: body.extent(z, side) for side in SIDES}
    ilium: dict[str, Points | None] = {}
    halves: dict[str, Points] = {}
    for side in SIDES:
        line, rest = joint[side], body.section(t.ilium, z, side)
        ilium[side] = None
        if line is not None and rest is not None:
            ilium[side] = np.vstack([offset_line(line, SIGN[side] * gap), rest])
        top, bottom = body.section(t.sacrum_top, z, side), body.section(t.sacrum_bottom, z, side)
        if line is not None and top is not None and bottom is not None:
            halves[side] = np.vstack([top[::-1], offset_line(line, -SIGN[side] * gap), bottom])
    sacrum = np.vstack([halves[LEFT], halves[RIGHT][::-1]]) if len(halves) == 2 else None
    return Bones(sacrum, ilium, joint, extent)


def lesion_opacity(lesion: Lesion, body: Body, z: float, grid: Grid, rough: Field) -> tuple[Field, Region] | None:
    """Shape of a lesion in the slice at z: 0 to 1 on its region of the grid; None where it is not."""
    scale = float(lesion.size_at(z))
    line = body.joint(z, lesion.side)
    if scale <= 0 or min(lesion.along, lesion.depth) <= 0 or line is None:
        return None
    low, high = body.joint_range(lesion.side)
    extent = body.extent(float(np.clip(z, low + 0.5, high - 0.5)), lesion.side) or (0.0, 1.0)
    place = (extent[0] + lesion.place * (extent[1] - extent[0])) * (JOINT_POINTS - 1)
    k = int(np.clip(round(place), 2, JOINT_POINTS - 3))
    middle = line[k]
    tangent = line[k + 2] - line[k - 2]
    tangent = tangent / max(float(np.linalg.norm(tangent)), 1e-6)
    outward = np.array([tangent[1], -tangent[0]]) * SIGN[lesion.side]  # from the sacrum to the ilium
    into = outward if lesion.bone == "iliac" else -outward
    along, depth = lesion.along * scale, lesion.depth * scale
    reach = max(along, depth) * (1 + lesion.ragged) + 3 * grid.pixel + body.subject.joint_gap_mm
    corner = grid.to_pixels(np.array([middle - reach, middle + reach]))
    c0, r0 = np.maximum(np.floor(corner[0]).astype(int), 0)
    c1, r1 = np.minimum(np.ceil(corner[1]).astype(int) + 1, grid.size)
    if c1 <= c0 or r1 <= r0:
        return None
    region = (slice(int(r0), int(r1)), slice(int(c0), int(c1)))
    dx, dy = grid.x[region[1]][None, :] - middle[0], grid.y[region[0]][:, None] - middle[1]
    s = dx * tangent[0] + dy * tangent[1]
    d = dx * into[0] + dy * into[1] - body.subject.joint_gap_mm / 2
    # The joint line curves: measure depth from where the line really is at this place along it.
    bend = (line - middle) @ np.stack([tangent, into], axis=1)
    d = d - np.interp(s, bend[:, 0], bend[:, 1])
    radius = np.sqrt((s / along) ** 2 + (np.maximum(d, 0) / depth) ** 2)
    value = 1 - radius + lesion.ragged * rough[region] * 0.5
    value = np.where(d < -CORTEX_MM, 0.0, value)
    return smoothstep(value.astype(np.float32), 0.0, 0.5), region


class Scene:
    """One person with lesions, ready to be cut."""

    def __init__(self, body: Body, lesions: list[Lesion]) -> None:
        self.body, self.lesions = body, lesions
        self._texture = Texture(body.subject)
        self._bowel = bowel.draw(body)

    def planes(
        self, grid: Grid, depths: NDArray[Any], thickness: float, t1: Sequence, stir: Sequence
    ) -> NDArray[np.float32]:
        """Water signal of T1, of STIR, and amount of fat, integrated over each slice: `(3, slice, row, column)`."""
        out = np.empty((3, len(depths), grid.size, grid.size), np.float32)
        offsets = (np.arange(SUB_SLICES) - (SUB_SLICES - 1) / 2) * thickness / SUB_SLICES
        for k, z in enumerate(depths):
            materials = self._texture.materials(float(z), grid)
            total = np.zeros((3, grid.size, grid.size), np.float32)
            for step in offsets:
                canvas = Canvas(grid, t1, stir)
                self._paint(canvas, float(z + step), materials)
                total += canvas.planes
            out[:, k] = total / SUB_SLICES
        return out

    def _paint(self, canvas: Canvas, z: float, m: Materials) -> None:
        self._skin(canvas, z, m)
        for item, loft in template().structures:
            if item["name"] == "gluteal":
                bowel.paint(self._bowel, self.body, canvas, z, m)
            self._structure(canvas, item, loft, z, m)
        bones = bones_at(self.body, z)
        self._joint(canvas, bones, m)
        inside = self._bones(canvas, bones, m)
        self._vessels(canvas, z)
        self._foramina(canvas, z, m)
        for item, loft in template().inner:
            self._structure(canvas, item, loft, z, m)
        self._lesions(canvas, z, m, inside)

    def _skin(self, canvas: Canvas, z: float, m: Materials) -> None:
        grid = canvas.grid
        edge = self.body.skin(z, grid.x)[None, :]
        inside = np.clip((edge - grid.y[:, None]) / grid.pixel + 0.5, 0, 1).astype(np.float32)
        under = np.clip((edge - 2.0 - grid.y[:, None]) / grid.pixel + 0.5, 0, 1).astype(np.float32)
        everywhere = (slice(None), slice(None))
        canvas.cover(inside, everywhere, canvas.value("skin"))
        canvas.cover(under, everywhere, canvas.value("subcutaneous", None, m.fat_pd))

    def _structure(self, canvas: Canvas, item: dict[str, Any], loft: Any, z: float, m: Materials) -> None:
        for side in SIDES if item.get("pair") else (None,):
            points = self.body.section(loft, z, side)
            if points is None:
                continue
            tissue, role = item["tissue"], item.get("role")
            if role == "gluteal":
                canvas.outline(points, tissue, m.gluteal_ff[int(SIGN[side or LEFT])])
            elif role == "multifidus":
                self._back(canvas, points, m)
            elif tissue == "muscle":
                canvas.outline(points, tissue, m.muscle_ff)
            elif tissue == "deep_fat":
                canvas.outline(points, tissue, None, m.deep_pd)
            elif "cortex_mm" in item:
                canvas.outline(points, "cortex")
                ff = m.red_ff if tissue == "red_marrow" else m.marrow_ff
                canvas.outline(offset(points, item["cortex_mm"]), tissue, ff, m.marrow_pd)
            elif role == "disc":
                canvas.outline(points, "cortex")
                canvas.outline(offset(points, 0.8), tissue)
                centre = points.mean(0)
                canvas.outline(centre + (points - centre) * np.array([0.72, 0.5]), "disc_nucleus")
            else:
                canvas.outline(points, tissue)

    def _back(self, canvas: Canvas, points: Points, m: Materials) -> None:
        middle = np.float32(self.body.pose.shift[0])
        left = (canvas.grid.x[None, :] > middle).astype(np.float32)
        canvas.outline(points, "muscle", (left * m.back_ff[1] + (1 - left) * m.back_ff[-1]).astype(np.float32))

    def _joint(self, canvas: Canvas, bones: Bones, m: Materials) -> None:
        gap = self.body.subject.joint_gap_mm / 2 + 0.4
        for side in SIDES:
            line, extent = bones.joint[side], bones.extent[side]
            if line is None or bones.sacrum is None:
                continue
            band = np.vstack([offset_line(line, -gap), offset_line(line, gap)[::-1]])
            canvas.outline(band, "ligament", m.cleft)
            part = _part(line, extent)
            if part is not None:
                canvas.outline(np.vstack([offset_line(part, -gap), offset_line(part, gap)[::-1]]), "cartilage")

    def _bones(self, canvas: Canvas, bones: Bones, m: Materials) -> dict[str, tuple[NDArray[np.uint8], Region] | None]:
        inside: dict[str, tuple[NDArray[np.uint8], Region] | None] = {"sacral": None}
        subject = self.body.subject
        if bones.sacrum is not None:
            canvas.outline(bones.sacrum, "cortex")
            towards = np.exp(-(((canvas.grid.x[None, :] - self.body.pose.shift[0]) / 24) ** 2)).astype(np.float32)
            ff = m.marrow_ff + 0.05 + towards * (m.red_ff - m.marrow_ff - 0.05)
            inside["sacral"] = canvas.outline(offset(bones.sacrum, CORTEX_MM), "marrow", ff, m.marrow_pd)
        for side in SIDES:
            points = bones.ilium[side]
            inside[f"iliac_{side}"] = None
            if points is not None:
                canvas.outline(points, "cortex")
                inside[f"iliac_{side}"] = canvas.outline(offset(points, CORTEX_MM), "marrow", m.marrow_ff, m.marrow_pd)
            line, extent = bones.joint[side], bones.extent[side]
            part = _part(line, extent) if line is not None else None
            if part is None:
                continue
            gap = subject.joint_gap_mm / 2
            for bone, sign in (("iliac", SIGN[side]), ("sacral", -SIGN[side])):
                width = CORTEX_MM + subject.sclerosis_mm[bone]
                band = np.vstack([offset_line(part, sign * gap), offset_line(part, sign * (gap + width))[::-1]])
                filled = fill(band, canvas.grid)
                if filled is not None:
                    soft = cv2.GaussianBlur(filled[0], (0, 0), 0.9 / canvas.grid.pixel).astype(np.float32) / 255
                    canvas.cover(soft * np.float32(0.55), filled[1], canvas.value("sclerosis"))
        return inside

    def _vessels(self, canvas: Canvas, z: float) -> None:
        for vessel in template().raw["vessels"]:
            scale = self.body.subject.size * self.body.subject.depth_scale
            low, high = vessel["z"]
            depth = z / scale
            middle, half = (low + high) / 2, (high - low) / 2
            if abs(depth - middle) >= half:
                continue
            width = vessel["radius"] * np.sqrt(1 - ((depth - middle) / half) ** 2)
            path = np.asarray(vessel["points"], dtype=np.float32)
            for side in SIDES:
                points = self.body.place_points(path, depth, side)
                smooth = _smooth(points)
                ring = np.vstack([offset_line(smooth, width), offset_line(smooth, -width)[::-1]])
                if vessel["kind"] == "vein":
                    canvas.outline(
                        np.vstack([offset_line(smooth, width + 0.7), offset_line(smooth, -width - 0.7)[::-1]]),
                        "bowel_wall",
                    )
                canvas.outline(ring, vessel["kind"])

    def _foramina(self, canvas: Canvas, z: float, m: Materials) -> None:
        scale = self.body.subject.size * self.body.subject.depth_scale
        depth = z / scale
        angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        for hole in template().raw["foramina"].values():
            depths = np.array(sorted(hole["path"]), dtype=float)
            if not depths[0] <= depth <= depths[-1]:
                continue
            x, y = (np.interp(depth, depths, [hole["path"][int(d)][k] for d in depths]) for k in (0, 1))
            for side in SIDES:
                ring = circle * np.array(hole["axes"]) + np.array([x, y])
                root = circle * hole["root"] + np.array([x + 0.5, y + 0.5])
                vein = circle * 1.1 + np.array([x - 0.55 * hole["axes"][0], y - 1.0])
                canvas.outline(
                    self.body.place_points(circle * (np.array(hole["axes"]) + 0.9) + np.array([x, y]), depth, side),
                    "cortex",
                )
                canvas.outline(self.body.place_points(ring, depth, side), "deep_fat", None, m.deep_pd)
                canvas.outline(self.body.place_points(root, depth, side), "nerve")
                canvas.outline(self.body.place_points(vein, depth, side), "vein")
        for disc in template().raw["remnants"]:
            low, high = disc["z"]
            if low <= depth <= high:
                y = float(np.interp(depth, [low, high], disc["y"]))
                half = disc["half_width"]
                ring = circle * np.array([half, 1.5]) + np.array([0, y])
                canvas.outline(self.body.place_points(ring, depth, None), "cortex")
                canvas.outline(
                    self.body.place_points(circle * np.array([half - 2, 0.7]) + np.array([0, y]), depth, None),
                    "disc_nucleus",
                )

    def _lesions(
        self, canvas: Canvas, z: float, m: Materials, inside: dict[str, tuple[NDArray[np.uint8], Region] | None]
    ) -> None:
        for lesion in self.lesions:
            filled = inside["sacral" if lesion.bone == "sacral" else f"iliac_{lesion.side}"]
            shape = lesion_opacity(lesion, self.body, z, canvas.grid, m.rough)
            if filled is None or shape is None:
                continue
            opacity, region = shape
            opacity = opacity * _cut(filled, region, canvas.grid.size)
            for tissue, share in mixture(lesion):
                canvas.cover(opacity * np.float32(share), region, canvas.value(tissue))

    def truth(self, grid: Grid, depths: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """Bones (0, sacrum, iliac), joints (1 right, 2 left) and lesions (number of the lesion + 1): `(slice, row, column)`."""
        shape = (len(depths), grid.size, grid.size)
        bones, joints, found = (np.zeros(shape, np.uint8) for _ in range(3))
        for k, depth in enumerate(depths):
            z = float(depth)
            cut = bones_at(self.body, z)
            if cut.sacrum is not None:
                _stamp(bones[k], cut.sacrum, grid, Bone.SACRUM)
            for item, loft in template().inner:
                points = self.body.section(loft, z) if item["name"] == "canal" else None
                if points is not None:
                    _stamp(bones[k], points, grid, Bone.BACKGROUND)
            for number, side in enumerate(SIDES, 1):
                points, line = cut.ilium[side], cut.joint[side]
                if points is not None:
                    _stamp(bones[k], points, grid, Bone.ILIAC)
                part = _part(line, cut.extent[side]) if line is not None else None
                if part is not None:
                    gap = self.body.subject.joint_gap_mm / 2 + 0.3
                    _stamp(joints[k], np.vstack([offset_line(part, -gap), offset_line(part, gap)[::-1]]), grid, number)
            self._stamp_lesions(found[k], bones[k], cut, z, grid)
        return bones, joints, found

    def _stamp_lesions(
        self, plane: NDArray[np.uint8], bones: NDArray[np.uint8], cut: Bones, z: float, grid: Grid
    ) -> None:
        rough = self._texture.rough(z, grid)
        for number, lesion in enumerate(self.lesions, 1):
            shape = lesion_opacity(lesion, self.body, z, grid, rough)
            if shape is None:
                continue
            opacity, region = shape
            bone = Bone.SACRUM if lesion.bone == "sacral" else Bone.ILIAC
            plane[region][(opacity > LESION_LEVEL) & (bones[region] == bone)] = number


def _part(line: Points, extent: tuple[float, float] | None) -> Points | None:
    """The stretch of a joint line between two fractions, or None when there is none."""
    if extent is None or extent[1] - extent[0] < 0.12:
        return None
    place = np.linspace(extent[0], extent[1], 25) * (len(line) - 1)
    return np.stack([np.interp(place, np.arange(len(line)), line[:, k]) for k in (0, 1)], axis=1).astype(np.float32)


def _smooth(points: Points) -> Points:
    """A polyline with its corners rounded."""
    t = np.linspace(0, len(points) - 1, 6 * len(points))
    dense = np.stack([np.interp(t, np.arange(len(points)), points[:, k]) for k in (0, 1)], axis=1)
    padded = np.pad(dense, ((4, 4), (0, 0)), mode="edge")
    kernel = np.ones(9) / 9
    return np.stack([np.convolve(padded[:, k], kernel, mode="valid") for k in (0, 1)], axis=1).astype(np.float32)


def _cut(filled: tuple[NDArray[np.uint8], Region], region: Region, size: int) -> Field:
    """Coverage of an outline on another region of the grid, 0 to 1."""
    whole = np.zeros((size, size), np.uint8)
    whole[filled[1]] = filled[0]
    return whole[region].astype(np.float32) / 255


def _stamp(plane: NDArray[np.uint8], points: Points, grid: Grid, value: int) -> None:
    filled = fill(points, grid)
    if filled is not None:
        plane[filled[1]][filled[0] > 127] = value
