"""The arches of L5 and S1: pedicles, processes and facets as bone behind a shell that differs from place to place."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import Canvas, Region, fill
from axspa_lib.phantom.drawing.texture import Field, Grid, Noise, smoothstep
from axspa_lib.phantom.painters.materials import Materials
from axspa_lib.phantom.painters.organs import Strand, strands
from axspa_lib.phantom.painters.tubes import smooth
from axspa_lib.phantom.person.anatomy import SIGN, Body, Points, template
from axspa_lib.study.labels import SIDES

#: How far about the bone ligaments and capsules reach, mm.
ABOUT_MM = 3.0
#: Spread of where the surface lies (mm), log spread of the shell's thickness and of how blurred the surface is, as a
#: slice cuts it anywhere between square and along it.
ROUGH_MM, SHELL_SPREAD, SLANT_SPREAD = 0.55, 0.7, 0.8
#: Mean thickness of the shell, and how far the dense bone under a facet's cartilage reaches, mm.
SHELL_MM, DENSE_MM = 0.45, 2.2
#: Strands of the iliolumbar ligament of a side, from the tip of the process of L5 to the ilium: ends (x, y) in mm.
ILIOLUMBAR, _TIP, _CREST = 7, (46.0, -15.0), (74.0, -4.0)


class Arches:
    """One person's last lumbar arch and the facets of S1, cut by slices."""

    def __init__(self, body: Body) -> None:
        rng = np.random.default_rng([body.subject.texture_seed, 70])
        self._body = body
        self._items = [item for item in template().raw["structures"] if item.get("role") == "arch"]
        self._lacking = {name for name in ("spinous", "spinous_s2") if rng.random() < 0.5}
        count = len(self._items), len(SIDES)
        common, own = rng.normal(0, 1, (count[0], 1, 5)), rng.normal(0, 1, (*count, 5))
        self._form = (0.75 * common + 0.65 * own) * (0.13, 0.15, 0.14, 0.8, 1.2)  # lengths, turn (rad), shift (mm)
        self._relief = Noise(rng, 5.0, 6)
        self._shell = Noise(rng, 7.0, 8)
        dense = rng.gamma(1.6, 0.5)
        self._dense = {side: float(np.clip(dense * rng.lognormal(0, 0.4), 0.15, 2.2)) for side in SIDES}
        firm, high = rng.uniform(0.0, 0.75), rng.normal(0.75, 0.15)
        self._firm = {side: float(firm + rng.normal(0, 0.15)) for side in SIDES}
        self._flavum = {
            side: (np.maximum(rng.normal((0.9, high), 0.2), (0.5, 0.75)), rng.normal(0, (0.8, 2.5))) for side in SIDES
        }
        self._fluid = {side: float(np.clip(rng.normal(0.05, 0.22), 0, 0.5)) for side in SIDES}
        self._turn = {side: float(rng.uniform(0, 2 * np.pi)) for side in SIDES}
        self._bands = [self._band(rng, sign) for sign in SIGN.values() for _ in range(ILIOLUMBAR)]

    @staticmethod
    def _band(rng: np.random.Generator, sign: float) -> Strand:
        """A strand of the iliolumbar ligament; they part on their way to the ilium."""
        start, end = np.array(_TIP) + rng.normal(0, 2.5, 2), np.array(_CREST) + rng.normal(0, (4.0, 8.0))
        middle = (start + end) / 2 + rng.normal(0, 1.5, 2)
        depth = rng.uniform(24, 44)
        return Strand(smooth((np.array([start, middle, end]) * (sign, 1)).astype(np.float32)),
                      (depth, depth + rng.normal(-2, 3)), float(rng.uniform(2, 4)), float(rng.uniform(0.25, 0.6)),
                      "ligament", float(rng.uniform(0.3, 0.75)))  # fmt: skip

    def paint(self, canvas: Canvas, depths: NDArray[Any], m: Materials) -> None:
        """Paint the arches as the slices at `depths` (mm) show them, seen together."""
        strands(canvas, self._body, self._bands, float(depths.mean()), m)
        cuts = [self._pieces(float(z)) for z in depths]
        bodies = [self._body.cut(float(z))["l5_body", None] for z in depths]
        region = _window(canvas.grid, [points for pieces in cuts for points in pieces])
        if region is None:
            return
        part = canvas.grid.part(*region)
        shape = region[0].stop - region[0].start, region[1].stop - region[1].start
        z = float(depths.mean())
        relief, uneven = (noise.plane(z, part)[: shape[0], : shape[1]] for noise in (self._relief, self._shell))
        near = self._near(z, part, shape)
        shell = np.float32(SHELL_MM) * np.exp(np.minimum(np.float32(SHELL_SPREAD) * uneven, 0.9)) + near
        blur = np.float32(0.5) * np.exp(np.float32(SLANT_SPREAD) * relief)
        whole, marrow, about = (np.zeros(shape, np.float32) for _ in range(3))
        rough = np.float32(ROUGH_MM) * (relief + 0.6 * m.rough[region])
        for pieces, body in zip(cuts, bodies, strict=True):
            deep = _under(pieces, canvas.grid, region) + rough
            both = np.maximum(deep, _under([body], canvas.grid, region)) if body is not None else deep
            whole += smoothstep(deep / blur, -1, 1) / len(cuts)
            marrow += smoothstep(both - shell, -0.3, 0.9) * smoothstep(deep, -2.4, 0.2) / len(cuts)
            about += smoothstep(deep, -ABOUT_MM + 0.8, 0.0) / len(cuts)
        medial = 1 - smoothstep(np.abs(part.x[: shape[1]]).astype(np.float32), 14, 24)[None, :]
        firm = np.clip(np.float32(0.3) + np.float32(0.6) * medial + np.float32(0.3) * uneven + near, 0, 0.95)
        canvas.cover(about * firm, region, canvas.value("ligament"))
        canvas.cover(whole * np.float32(0.85), region, canvas.value("cortex"))
        canvas.cover(marrow, region, canvas.value("red_marrow", m.body_ff[region], m.marrow_pd[region]))
        fat = smoothstep(uneven + 0.8 * relief, 0.4, 2.4)
        canvas.cover(marrow * fat * np.float32(0.6), region, canvas.value("yellow_marrow"))
        self._flava(canvas, region, z, rough, uneven)
        self._joints(canvas, z)

    def _flava(self, canvas: Canvas, region: Region, z: float, rough: Field, uneven: Field) -> None:
        """The yellow ligaments with the capsules of the facets, in some people as dark as cortex."""
        for side in SIDES:
            outline = self._body.cut(z)["flavum", side]
            if outline is None:
                continue
            scale, shift = self._flavum[side]
            middle = outline.mean(0)
            own = (middle + (outline - middle) * scale + shift).astype(np.float32)
            deep = _under([own], canvas.grid, region) + np.float32(1.7) * rough
            dark = np.clip(np.float32(self._firm[side]) + np.float32(0.3) * uneven, 0, 0.85)
            canvas.cover(smoothstep(deep, -1.5, 1.5) * np.float32(0.7), region, canvas.value("ligament"))
            canvas.cover(smoothstep(deep, -1.2, 2.4) * dark, region, canvas.value("cortex"))

    def _pieces(self, z: float) -> list[Points]:
        """Outlines of every piece in the slice at `z` (mm), as this person has them."""
        cut, found = self._body.cut(z), []
        for item, forms in zip(self._items, self._form, strict=True):
            for side, form in zip(SIDES if item.get("pair") else (None,), forms, strict=False):
                points = cut[item["name"], side]
                if points is None or item["name"] in self._lacking:
                    continue
                pivot = points.mean(0)
                if side is not None:  # a process is fixed where it springs from
                    pivot = pivot + (points[np.argmin(np.abs(points[:, 0]))] - pivot) * 0.6
                c, s = np.cos(form[2]), np.sin(form[2])
                turn = np.array([[c, s], [-s, c]])
                found.append(((points - pivot) * np.exp(form[:2]) @ turn + pivot + form[3:]).astype(np.float32))
        return found

    def _near(self, z: float, part: Grid, shape: tuple[int, int]) -> Field:
        """By how much thicker (mm) the shell is under the joints."""
        out = np.zeros(shape, np.float32)
        for side in SIDES:
            joint = self._body.cut(z)["facet_joint", side]
            filled = None if joint is None else fill(joint, part, 1 + int(3 * DENSE_MM / part.pixel))
            if filled is None:
                continue
            mask, (rows, columns) = filled
            soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), DENSE_MM / part.pixel)
            scale = 2.2 * self._dense[side] / max(float(soft.max()), 1e-3)
            r, c = min(rows.stop, shape[0]), min(columns.stop, shape[1])
            out[rows.start : r, columns.start : c] += np.float32(scale) * soft[: r - rows.start, : c - columns.start]
        return out

    def _joints(self, canvas: Canvas, z: float) -> None:
        for side in SIDES:
            joint = self._body.cut(z)["facet_joint", side]
            if joint is not None:
                wave = 0.5 * np.sin(np.linspace(0, 6 * np.pi, len(joint)) + self._turn[side] + 0.4 * z)
                joint = joint + np.stack([wave, np.zeros_like(wave)], axis=1)
                canvas.outline(joint, "cartilage", None, 1.0, 0.75, soft_mm=0.3)
                canvas.outline(joint, "effusion", None, 1.0, min(self._fluid[side], 0.8), soft_mm=0.3)


def _window(grid: Grid, outlines: list[Points]) -> Region | None:
    """The part of the grid about outlines."""
    if not outlines:
        return None
    pixels, rim = grid.to_pixels(np.vstack(outlines)), 2 + int(ABOUT_MM / grid.pixel)
    c0, r0 = np.clip(np.floor(pixels.min(0)).astype(int) - rim, 0, grid.size)
    c1, r1 = np.clip(np.ceil(pixels.max(0)).astype(int) + rim, 0, grid.size)
    return (slice(int(r0), int(r1)), slice(int(c0), int(c1))) if c1 > c0 and r1 > r0 else None


def _under(outlines: list[Points], grid: Grid, region: Region) -> Field:
    """Depth (mm) under the surface of all outlines together by pixel of a region, negative outside."""
    deep = np.full((region[0].stop - region[0].start, region[1].stop - region[1].start), -ABOUT_MM, np.float32)
    for points in outlines:
        filled = fill(points, grid, 1 + int(ABOUT_MM / grid.pixel))
        if filled is None:
            continue
        mask, (rows, columns) = filled
        r, c = max(rows.start, region[0].start), max(columns.start, region[1].start)
        r1, c1 = min(rows.stop, region[0].stop), min(columns.stop, region[1].stop)
        if r1 <= r or c1 <= c:
            continue
        inside = (mask > 127).astype(np.uint8)
        within, without = (cv2.distanceTransform(each, cv2.DIST_L2, 3) for each in (inside, 1 - inside))
        under = (within - without) * np.float32(grid.pixel)
        target = deep[r - region[0].start : r1 - region[0].start, c - region[1].start : c1 - region[1].start]
        np.maximum(target, under[r - rows.start : r1 - rows.start, c - columns.start : c1 - columns.start], out=target)
    return deep
