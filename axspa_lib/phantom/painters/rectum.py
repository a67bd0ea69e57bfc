"""The rectum and lower sigmoid in the hollow of the sacrum: one winding tube, wider where it holds stool or gas."""

from __future__ import annotations

import numpy as np

from axspa_lib.phantom.drawing.paint import Canvas
from axspa_lib.phantom.drawing.texture import Field
from axspa_lib.phantom.painters.materials import Materials
from axspa_lib.phantom.painters.tubes import rounded, stretches, tube
from axspa_lib.phantom.person.anatomy import Body

#: Half width of the empty rectum, mm, and how many times as wide it is where it is filled: ranges of people. The rectum
#: of asymptomatic adults is 20 to 45 mm wide on MRI.
EMPTY_MM, FILLED = (8.0, 11.5), (1.4, 2.2)
#: What it holds, and the shares of people.
HOLDS, SHARES = ("gas", "stool"), (0.45, 0.55)
#: Its middle in the mean anatomy: depth by y, mm.
COURSE = ([30, 54, 74, 90, 121], [-22, -8, 0, 6, 12])


class Rectum:
    """The rectum of one person."""

    def __init__(self, body: Body) -> None:
        rng = np.random.default_rng([body.subject.texture_seed, 73])
        t = np.linspace(0, 1, 72)
        y = 34 + 88 * t
        curves, turn = rng.normal(0, (13, 2.5)), rng.uniform(0, 6, 2)
        swing = curves[0] * np.sin(5 * t + turn[0]) + curves[1] * np.sin(12 * t + turn[1])
        x = rng.normal(0, 3) + (1 - 0.8 * t**2) * swing
        z = np.interp(y, *COURSE) + rng.normal(0, 2.5) + rng.normal(0, 6) * np.sin(rng.uniform(6, 10) * t + turn[1])
        full = np.zeros(len(t))
        for _ in range(rng.integers(0, 4)):  # what it holds lies between the transverse folds
            full += np.exp(-(((t - rng.uniform(0.05, 0.95)) / rng.uniform(0.07, 0.17)) ** 2))
        self._full = np.clip(1.5 * full - 0.25, 0, 1)
        ragged = sum(0.03 * np.sin(k * t + rng.uniform(0, 6)) for k in rng.uniform(14, 65, 5))
        self._half = rng.uniform(*EMPTY_MM) * (1 + self._full * (rng.uniform(*FILLED) - 1)) * (1 + ragged)
        self._path = body.place(np.stack([x, y], axis=1), z)
        self._z = body.z(z)
        self._holds = str(rng.choice(HOLDS, p=SHARES))
        self._wall, self._lining = float(rng.uniform(2.0, 3.2)), float(rng.uniform(0.1, 0.35))
        self._slit = np.clip(0.07 + sum(0.09 * np.sin(k * t + rng.uniform(0, 6)) for k in rng.uniform(15, 60, 3)), 0, 1)
        self._aside = sum(0.12 * np.sin(k * t + rng.uniform(0, 6)) for k in rng.uniform(10, 40, 2))
        self._mottled = np.float32(rng.uniform(0.2, 0.6))
        self._dense = np.float32(rng.uniform(0.75, 1.25))

    def paint(self, canvas: Canvas, z: float, uneven: Field, m: Materials) -> None:
        """Paint it where the slice at z (mm) cuts it: wall, lining, and what it holds, or a slit where it is empty.

        `uneven` as of `bowel.grain`.
        """
        off = z - self._z
        half = np.sqrt(np.maximum(self._half**2 - off**2, 0))
        oblique = 0.4 + 0.5 * np.minimum(np.abs(off) / self._half, 1)
        held_pd: Field | float = float(self._dense)
        if self._holds == "stool":
            held_pd = np.clip(self._dense * (1 + self._mottled * uneven), 0.2, 1.5).astype(np.float32)
        uneven = 1 + np.float32(0.4) * uneven
        for part in stretches(half > 1.0):
            line, soft = self._path[part], float(oblique[part].mean())
            canvas.outline(tube(line, half[part]), "bowel_wall", None, uneven, 0.97, soft)
            inner = half[part] - self._wall
            for run in stretches(inner > 1.0):
                lumen, full = inner[run], self._full[part][run]
                canvas.outline(tube(line[run], lumen), "mucosa", None, uneven, self._lining, soft + 0.4)
                for held in stretches(full > 0.2):
                    widths = (lumen[held] - 0.9) * np.sqrt((full[held] - 0.2) / 0.8)
                    for keep in stretches(widths > 0.5):
                        outline = rounded(tube(line[run][held][keep], widths[keep]))
                        canvas.outline(outline, self._holds, None, held_pd, 1.0, soft)
                width = (self._slit[part][run] * lumen * (full <= 0.2)).astype(np.float32)
                for shut in stretches(width > 0.3):
                    middle = line[run][shut] + (self._aside[part][run][shut] * lumen[shut])[:, None] * np.array([1, 0])
                    canvas.outline(tube(middle.astype(np.float32), width[shut]), "stool", None, 0.7, 0.6, soft)
