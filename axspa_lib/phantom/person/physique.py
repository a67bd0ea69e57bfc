"""Muscularity of a person: the form of muscles that differ more between people than the pelvis."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import offset
from axspa_lib.study.labels import LEFT, SIDES

#: How much further gluteus maximus reaches from the bone, mm: spread between people and between sides, and share of
#: the fat under the skin beyond 22 mm. In seven public scans it is 12 to 45 mm thick beside the sacrum.
GLUTEAL_MM = (4.0, 1.2, 0.5)
#: The psoas: log spread of its slenderness and of its sides, spread of its turn (rad), and of its outline's waves.
PSOAS = (0.07, 0.05, 0.16, 0.035)
#: What lies beside the psoas flattens it: number of sides, how far of its half width each presses it in, and how much
#: slenderer its cranial and medial end is than the other (mean and spread).
SIDES_PRESSED, PRESSED, DROP = (2, 5), (0.05, 0.2), (0.14, 0.1)


@dataclass(frozen=True)
class Physique:
    """One person's muscles against the mean outlines.

    Attributes:
        gluteal_mm: how much further gluteus maximus reaches, by side.
        psoas: `(2, 2)` matrix that turns and stretches the psoas, by side; `waves` `(harmonic, 2)` of its outline.
        pressed: `(n, 3)` unit vectors of the sides from which it is flattened, and by how much; `drop` as in `DROP`.
    """

    gluteal_mm: dict[str, float]
    psoas: dict[str, NDArray[np.float64]]
    waves: dict[str, NDArray[np.float64]]
    pressed: dict[str, NDArray[np.float64]]
    drop: dict[str, float]


def draw_physique(seed: int, psoas: float, subcutaneous_mm: float) -> Physique:
    """Draw a physique from a person's seed, relative psoas size, and fat over the back in mm."""
    rng = np.random.default_rng([seed, 32])
    reach = rng.normal(0, GLUTEAL_MM[0]) + GLUTEAL_MM[2] * float(np.clip(subcutaneous_mm - 22, -14, 12))
    slender, turn = rng.normal(0, PSOAS[0]), rng.normal(0, PSOAS[2])
    gluteal, matrix, waves, pressed = {}, {}, {}, {}
    for side in SIDES:
        gluteal[side] = float(reach + rng.normal(0, GLUTEAL_MM[1]))
        size = psoas * float(np.exp(rng.normal(0, PSOAS[1])))
        angle = (turn + rng.normal(0, 0.4 * PSOAS[2])) * (1 if side == LEFT else -1)
        c, s = np.cos(angle), np.sin(angle)
        matrix[side] = np.array([[c, s], [-s, c]]) @ np.diag([size * np.exp(-slender), size * np.exp(slender)])
        waves[side] = rng.normal(0, PSOAS[3], (3, 2))
    rng = np.random.default_rng([seed, 69])
    drop = rng.normal(*DROP)
    for side in SIDES:
        towards = rng.uniform(0, 2 * np.pi, int(rng.integers(*SIDES_PRESSED, endpoint=True)))
        pressed[side] = np.stack([np.cos(towards), np.sin(towards), rng.uniform(*PRESSED, len(towards))], axis=1)
    drops = {side: float(drop + rng.normal(0, 0.4 * DROP[1])) for side in SIDES}
    return Physique(gluteal, matrix, waves, pressed, drops)


def psoas(person: Physique, outline: NDArray[np.float32], side: str) -> NDArray[np.float32]:
    """Shape the mean psoas `(n, 2)` in mm as this person's; it lies against the spine as in everyone."""
    centre = outline.mean(0)
    medial = np.argmin(np.abs(outline[:, 0]))
    from_centre = outline - centre
    angle = np.arctan2(from_centre[:, 1], from_centre[:, 0])
    order = np.arange(2, 5)[:, None] * angle
    swell = 1 + person.waves[side][:, 0] @ np.cos(order) + person.waves[side][:, 1] @ np.sin(order)
    shaped = (from_centre * swell[:, None]) @ person.psoas[side]
    caudal = shaped[:, 1] / np.abs(shaped[:, 1]).max()
    shaped[:, 0] *= 1 + person.drop[side] * caudal
    area = cv2.contourArea(shaped.astype(np.float32))
    for across, down, press in person.pressed[side]:
        reach = shaped @ (across, down)
        edge = (1 - press) * reach.max()
        shaped -= np.outer(0.75 * np.maximum(reach - edge, 0), (across, down))
    shaped = sum(w * np.roll(shaped, k - 2, 0) for k, w in enumerate((0.125, 0.25, 0.25, 0.25, 0.125)))
    shaped *= np.sqrt(area / cv2.contourArea(shaped.astype(np.float32)))  # pressed flat, not made smaller
    shift = outline[medial, 0] - (centre[0] + shaped[np.argmin(np.abs(centre[0] + shaped[:, 0])), 0])
    return (shaped + centre + np.array([shift, 0])).astype(np.float32)


def gluteal(person: Physique, outline: NDArray[np.float32], side: str) -> NDArray[np.float32]:
    """Make gluteus maximus as thick as this person's: its lateral and caudal border moves."""
    normal = offset(outline, -1.0) - outline
    outward = np.array([0.6 if side == LEFT else -0.6, 0.8])
    share = np.clip(normal @ outward, 0, 1)[:, None]
    return (outline + np.float32(person.gluteal_mm[side]) * share * normal).astype(np.float32)
