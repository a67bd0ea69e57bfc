"""The object: a person's slices as water and fat on a grid, painted tissue over tissue, integrated over the slice."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import Canvas, fill, offset
from axspa_lib.phantom.drawing.texture import Field, Grid, smoothstep
from axspa_lib.phantom.painters import bones, bowel, organs, vessels
from axspa_lib.phantom.painters.arches import Arches
from axspa_lib.phantom.painters.canal import Canal
from axspa_lib.phantom.painters.discs import Discs
from axspa_lib.phantom.painters.ligaments import Ligaments
from axspa_lib.phantom.painters.materials import Materials, Texture, bend
from axspa_lib.phantom.painters.muscles import Psoas, belly
from axspa_lib.phantom.painters.rectum import Rectum
from axspa_lib.phantom.painters.spine import Spine
from axspa_lib.phantom.person import skeleton
from axspa_lib.phantom.person.anatomy import Body, template
from axspa_lib.phantom.person.disease import Lesion, mixture
from axspa_lib.phantom.physics import tissues
from axspa_lib.phantom.physics.tissues import Sequence
from axspa_lib.phantom.section import Bones, band, bones_at, lesion_opacity
from axspa_lib.phantom.truth import Labels, truth
from axspa_lib.study.labels import SIDES

#: Sub-slices over which a slice is integrated.
SUB_SLICES = 4
#: Thickness of the skin, and over how much of a slice its border spreads, which meets it at some 40 degrees, mm.
SKIN_MM, OBLIQUE_MM = 2.5, 4.0
#: From where to where beside the bones borders become smooth, mm.
FIRM_MM = (4.0, 12.0)
#: STIR signal over muscle's from which on a voxel counts as fluid (CSF, slow blood).
FLUID = 3.5
#: How much brighter than muscle slow blood makes small vessels on STIR, where they fill a pixel: those that cross a
#: muscle, those along its bundles, those in fat and along its septa. Within muscle that is even on T1, the 99th
#: percentile of detail of 1 to 3 mm lies 0.3 to 1.5 signals of muscle above the mean in eight public scans; with noise
#: alone it was 0.18.
BLOOD = {"muscle": 1.1, "bundles": 1.3, "fat": 1.0, "septa": 2.2}

#: Roles of structures that are painted elsewhere or not at all.
UNPAINTED = ("back", "arch", "arch_joint", "arch_ligament", "unpainted")

_EVERYWHERE = (slice(None), slice(None))


class Scene:
    """One person with lesions, ready to be cut."""

    def __init__(self, body: Body, lesions: list[Lesion]) -> None:
        self.body, self.lesions = body, lesions
        self._build = skeleton.draw_build(body.subject)
        self._texture = Texture(body.subject, self._build)
        self._bowel = bowel.draw(body)
        self._rectum = Rectum(body)
        self._variant_side = organs.draw_variant_side(body)
        self._twigs, self._trunks = vessels.draw(body)
        self._spine = Spine(body)
        self._ligaments = Ligaments(body)
        self._canal = Canal(body)
        self._arches = Arches(body)
        self._discs = Discs(body, self._build)
        self._psoas = Psoas(body.subject.texture_seed)

    def planes(
        self, grid: Grid, depths: NDArray[Any], thickness: float, t1: Sequence, stir: Sequence
    ) -> NDArray[np.float32]:
        """Paint the water signal of T1, of STIR, and the fat, integrated over each slice: `(3, slice, row, column)`.

        Args:
            grid: in-plane grid; `depths` z of the slices, mm; `thickness` of a slice, mm.
            t1, stir: contrast of the two sequences.
        """
        out = np.empty((3, len(depths), grid.size, grid.size), np.float32)
        offsets = (np.arange(SUB_SLICES) - (SUB_SLICES - 1) / 2) * thickness / SUB_SLICES
        canvas = Canvas(grid, t1, stir)
        for k, z in enumerate(depths):
            joint = {side: self.body.cut(float(z))["joint", side] for side in SIDES}
            firm = self.firm(grid, z + offsets[[0, -1]])
            materials = self._texture.materials(float(z), grid, joint, self.body.skin(float(z), grid.x), firm)
            total = np.zeros((3, grid.size, grid.size), np.float32)
            for half in np.split(offsets, 2):  # soft parts change slowly: once per half slice
                canvas.planes[:] = 0
                self._soft_parts(canvas, z + half, materials)
                background = canvas.planes.copy()
                for step in half:
                    canvas.planes[:] = background
                    self._skeleton(canvas, float(z + step), thickness / SUB_SLICES, materials)
                    total += canvas.planes
            total /= SUB_SLICES
            fluid = (total[1] / (FLUID * np.abs(canvas.value("muscle")[1]))) ** 4  # which has no texture of its own
            total[1] *= 1 + (materials.relaxation - 1) / (1 + fluid)
            total[1] += materials.remnant * total[2] * np.float32(tissues.fat(stir))
            total[1] += canvas.value("muscle")[1] * _blood(total, canvas, materials, firm) / (1 + fluid)
            opacity = 0.2 * materials.vessels * smoothstep(total[2], 0.7, 0.85)  # small vessels wherever there is fat
            total += opacity * (canvas.value("vein") - total)
            out[:, k] = bend(total, materials.warp)
        return out

    def firm(self, grid: Grid, depths: NDArray[Any]) -> Field:
        """Return the share of the warp: all of it about the bones, whose truth it bends, little in soft parts."""
        apart = np.full((grid.size, grid.size), 255, np.uint8)
        for z in depths:
            section = bones_at(self.body, float(z))
            for points in (section.sacrum, *section.ilium.values()):
                filled = None if points is None else fill(points, grid)
                if filled is not None:
                    apart[filled[1]][filled[0] > 0] = 0
        away = cv2.distanceTransform(apart, cv2.DIST_L2, 3) * np.float32(grid.pixel)
        return 1 - np.float32(0.8) * smoothstep(away, *FIRM_MM)

    def truth(self, grid: Grid, depths: NDArray[Any]) -> tuple[Labels, Labels, Labels]:
        """Return bones, joints and lesions on a grid: see `axspa_lib.phantom.truth`."""
        return truth(self.body, self.lesions, self._texture, grid, depths)

    def _soft_parts(self, canvas: Canvas, depths: NDArray[Any], m: Materials) -> None:
        z, slab = float(depths.mean()), 2 * float(np.ptp(depths))  # two sub-slices
        fat = canvas.value("subcutaneous", m.fat_ff, m.fat_pd)
        canvas.cover(self._beneath(canvas.grid, z, SKIN_MM), _EVERYWHERE, fat)
        for item in template().raw["structures"]:
            if item["name"] == "gluteal":
                uneven = bowel.grain(m)
                bowel.paint(self._bowel, canvas, z, uneven, m)
                self._rectum.paint(canvas, z, uneven, m)
            elif item["name"] == "l4_body":
                vessels.paint(canvas, self._trunks, z, slab)
            self._structure(canvas, item, z, m)
            if item.get("role") == "back":
                self._back(canvas, item, depths, m)
            if item["name"] == "abdominal_fat":
                vessels.paint(canvas, self._twigs, z, slab)
        self._arches.paint(canvas, depths, m)
        self._spine.vessels(canvas, z, m)
        # nothing shows beyond the skin, however lean the person is
        canvas.cover(1 - self._beneath(canvas.grid, z, SKIN_MM), _EVERYWHERE, canvas.value("skin"))
        canvas.planes *= self._beneath(canvas.grid, z, 0.0)

    def _skeleton(self, canvas: Canvas, z: float, slab: float, m: Materials) -> None:
        section = bones_at(self.body, z)
        inside = self._bones(canvas, section, bones_at(self.body, z + slab), slab, z, m)
        ways = bones.ways_out(self.body, self._build, z)
        bones.foramina(canvas, self.body, self._build, ways, z, m)
        self._discs.remnants(canvas, z, m)
        organs.variants(canvas, self.body, self._variant_side, z, m)
        for item in template().raw["inner"]:
            self._structure(canvas, item, z, m)
        bones.roots(canvas, ways, self.body.depth(z), m)
        self._canal.sac(canvas, z, m)
        self._spine.dorsum(canvas, section.sacrum, z, m)
        self._ligaments.paint(canvas, section, z, m)
        self._lesions(canvas, z, m, inside)

    def _beneath(self, grid: Grid, z: float, depth: float) -> Field:
        """Return the share of each pixel that lies more than `depth` mm under the surface."""
        under = self.body.skin(z, grid.x)[None, :] - grid.y[:, None]
        return np.clip((under - depth) / OBLIQUE_MM + 0.5, 0, 1).astype(np.float32)

    def _structure(self, canvas: Canvas, item: dict[str, Any], z: float, m: Materials) -> None:
        cut, f = self.body.cut(z), m.fibres
        for side in SIDES if item.get("pair") else (None,):
            points = cut[item["name"], side]
            tissue, role = item["tissue"], item.get("role")
            if points is None or role in UNPAINTED:
                continue
            if role == "gluteal":
                belly(canvas, points, tissue, f.gluteal_ff, f.gluteal_pd + f.mottle, f.gluteal_ends, 1.7, 3.5, 3.2)
            elif role == "plane":
                belly(canvas, points, tissue, m.visceral_ff, m.deep_pd, m.rough + 3 * (f.sheath - 0.9), 0.6)
            elif role == "canal":
                self._canal.fat(canvas, points, z, m)
            elif role == "disc":
                self._discs.disc(canvas, item["name"], points, z, m)
            elif tissue == "red_marrow":
                bones.vertebra(canvas, self._build, item["name"], points, z, m)
            elif tissue == "muscle":
                ff, pd, ends = f.of(item.get("streaks", 1.0), role == "fan")
                ragged, edge = (0.7, 2.2) if role == "fan" else (0.12, 0.9)
                belly(canvas, points, tissue, ff, pd, ends, ragged, edge_mm=edge, sheath=f.sheath)
                if item["name"] == "psoas":
                    self._psoas.paint(canvas, points, str(side), z)
            elif tissue == "visceral_fat":
                canvas.wash(points, tissue, m.visceral_ff, m.deep_pd, 6.0)
            elif tissue == "deep_fat":
                canvas.outline(points, tissue, None, m.deep_pd)
            elif "cortex_mm" in item:
                canvas.outline(points, "cortex")
                canvas.outline(offset(points, item["cortex_mm"]), tissue, m.iliac_ff, m.marrow_pd)
            else:
                canvas.outline(points, tissue, None, 1.0, item.get("opacity", 1.0))

    def _back(self, canvas: Canvas, item: dict[str, Any], depths: NDArray[Any], m: Materials) -> None:
        """Paint the muscles of the back with their fat and ligaments; slices cut their surface at a low angle."""
        pixel, size = canvas.grid.pixel, canvas.grid.size
        cuts = [self.body.cut(float(z))[item["name"], None] for z in depths]
        masks = [fill(points, canvas.grid, 1 + int(6 / pixel)) for points in cuts if points is not None]
        found = [filled for filled in masks if filled is not None]
        if not found:
            return
        whole = np.zeros((size, size), np.float32)
        for mask, part in found:
            whole[part] += mask * np.float32(1 / 255 / len(depths))
        axes = zip(*(part for _, part in found), strict=True)
        rows, columns = (slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in axes)
        region = rows, columns
        cover = cv2.GaussianBlur(whole[region].copy(), (0, 0), 0.5 / pixel, sigmaY=2.0 / pixel).astype(np.float32)
        canvas.cover(cover, region, canvas.value(item["tissue"], m.back_ff[region], m.muscle_pd[region]))
        canvas.cover(cover * m.collagen[region], region, canvas.value("ligament"))

    def _bones(
        self, canvas: Canvas, section: Bones, ahead: Bones, slab: float, z: float, m: Materials
    ) -> dict[str, bones.Filled | None]:
        inside: dict[str, bones.Filled | None] = {}
        half = self.body.subject.joint_gap_mm / 2 + 0.4
        if section.sacrum is not None:
            for line in section.joint.values():  # what holds the bones together, under cartilage and ligaments
                if line is not None:
                    canvas.outline(band(line, -half, half), "ligament")
            following = section.sacrum if ahead.sacrum is None else ahead.sacrum
            inside["sacral"] = bones.sacrum(canvas, self._build, section.sacrum, following, slab, z, m)
        for side in SIDES:
            points, cartilage = section.ilium[side], section.cartilage[side]
            if points is not None:
                depth, jointed = self.body.depth_at_joint(z, side), cartilage is not None
                inside[f"iliac_{side}"] = bones.ilium(canvas, self._build, points, z, depth, jointed, m)
            if cartilage is not None:
                bones.joint_space(canvas, self.body, self._build, cartilage, side, z, m)
        return inside

    def _lesions(self, canvas: Canvas, z: float, m: Materials, inside: dict[str, bones.Filled | None]) -> None:
        for lesion in self.lesions:
            filled = inside.get("sacral" if lesion.bone == "sacral" else f"iliac_{lesion.side}")
            shape = lesion_opacity(lesion, self.body, z, canvas.grid, m.rough)
            if filled is None or shape is None:
                continue
            opacity, region = shape
            marrow = np.zeros((canvas.grid.size, canvas.grid.size), np.uint8)
            marrow[filled[1]] = filled[0]
            opacity = opacity * (marrow[region].astype(np.float32) / np.float32(255))
            for tissue, share in mixture(lesion):
                canvas.cover(opacity * np.float32(share), region, canvas.value(tissue, None, m.marrow_pd[region]))


def _blood(total: Field, canvas: Canvas, m: Materials, firm: Field) -> Field:
    """Return what slow blood adds to the STIR of muscle and fat away from bones, in signals of muscle."""
    wet = smoothstep(total[1] / canvas.value("muscle")[1], 0.3, 0.7)
    muscle, fat = (1 - smoothstep(total[2], 0.1, 0.3)) * wet, smoothstep(total[2], 0.6, 0.85)
    shines = muscle * (BLOOD["muscle"] * m.twigs + BLOOD["bundles"] * m.fibres.twigs)
    shines += fat * (BLOOD["fat"] * m.twigs + BLOOD["septa"] * m.vessels)
    return shines * (1 - smoothstep(firm, 0.3, 0.9))
