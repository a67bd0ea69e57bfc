"""How muscular a person is: the form of muscles that differ more between people than the pelvis does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from axspa_lib.labels import LEFT, RIGHT
from axspa_lib.phantom.paint import offset

#: How much further gluteus maximus reaches from the bone, mm: spread between people and between sides, and share of
#: the fat under the skin beyond 22 mm. In seven public scans it is 12 to 45 mm thick beside the sacrum.
GLUTEAL_MM = (4.0, 1.2, 0.5)
#: The psoas: log spread of its slenderness and of its sides, spread of its turn (rad), and of its outline's waves.
PSOAS = (0.07, 0.05, 0.16, 0.035)


@dataclass(frozen=True)
class Physique:
    """One person's muscles against the mean outlines.

    Attributes:
        gluteal_mm: how much further gluteus maximus reaches, by side.
        psoas: `(2, 2)` matrix that turns and stretches the psoas, by side; `waves` `(harmonic, 2)` of its outline.
    """

    gluteal_mm: dict[str, float]
    psoas: dict[str, NDArray[np.float64]]
    waves: dict[str, NDArray[np.float64]]


def draw_physique(seed: int, psoas: float, subcutaneous_mm: float) -> Physique:
    """Draw a physique.

    Args:
        seed: of the person.
        psoas: width and height of the psoas over the mean outline's; `subcutaneous_mm` fat over the back, mm.
    """
    rng = np.random.default_rng([seed, 32])
    reach = rng.normal(0, GLUTEAL_MM[0]) + GLUTEAL_MM[2] * float(np.clip(subcutaneous_mm - 22, -14, 12))
    slender, turn = rng.normal(0, PSOAS[0]), rng.normal(0, PSOAS[2])
    gluteal, matrix, waves = {}, {}, {}
    for side in (RIGHT, LEFT):
        gluteal[side] = float(reach + rng.normal(0, GLUTEAL_MM[1]))
        size = psoas * float(np.exp(rng.normal(0, PSOAS[1])))
        angle = (turn + rng.normal(0, 0.4 * PSOAS[2])) * (1 if side == LEFT else -1)
        c, s = np.cos(angle), np.sin(angle)
        matrix[side] = np.array([[c, s], [-s, c]]) @ np.diag([size * np.exp(-slender), size * np.exp(slender)])
        waves[side] = rng.normal(0, PSOAS[3], (3, 2))
    return Physique(gluteal, matrix, waves)


def psoas(person: Physique, outline: NDArray[np.float32], side: str) -> NDArray[np.float32]:
    """The psoas of this person from the mean one's outline `(n, 2)` in mm; it lies against the spine as in everyone."""
    centre = outline.mean(0)
    medial = np.argmin(np.abs(outline[:, 0]))
    from_centre = outline - centre
    angle = np.arctan2(from_centre[:, 1], from_centre[:, 0])
    order = np.arange(2, 5)[:, None] * angle
    swell = 1 + person.waves[side][:, 0] @ np.cos(order) + person.waves[side][:, 1] @ np.sin(order)
    shaped = (from_centre * swell[:, None]) @ person.psoas[side]
    shift = outline[medial, 0] - (centre[0] + shaped[np.argmin(np.abs(centre[0] + shaped[:, 0])), 0])
    return (shaped + centre + np.array([shift, 0])).astype(np.float32)


def gluteal(person: Physique, outline: NDArray[np.float32], side: str) -> NDArray[np.float32]:
    """Gluteus maximus as thick as this person's: its lateral and caudal border moves, its origin on the bone stays."""
    normal = offset(outline, -1.0) - outline
    outward = np.array([0.6 if side == LEFT else -0.6, 0.8])
    share = np.clip(normal @ outward, 0, 1)[:, None]
    return (outline + np.float32(person.gluteal_mm[side]) * share * normal).astype(np.float32)
