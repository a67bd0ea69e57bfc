"""Incremental segmentation (section 4.1): whose automatic masks are good enough to join the annotated set.

The criterion of the paper: an examination fails when the joint is not detected on two or more of the half-slices that
its readers chose. Where nobody has read an examination, `widest_window` stands in for the readers' choice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import pandas as pd

from axspa_lib.joint.algorithm1 import SIDE_VALUE
from axspa_lib.study.config import Increment
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SIDES
from axspa_lib.study.volume import Volume

#: Depth of the six consecutive slices that a reader of the paper chose, at the 5 mm of their protocol.
WINDOW_MM = 30.0

MANUAL, PREDICTED = "manual", "predicted"
COLUMNS = ["patient", "source", "half_slices", "missed", "accepted"]


def missed_half_slices(joints: Volume, half_slices: pd.DataFrame) -> int:
    """Return the number of half-slices chosen by the readers on which the joint is not found.

    Args:
        joints: joint mask `(slice, row, column)`, 1 patient right, 2 patient left.
        half_slices: `slice, side` and any other columns, of one examination; a half-slice that several readers chose
            counts once.

    Raises:
        DataError: a half-slice lies outside the volume or names an unknown side.
    """
    found = np.stack([(joints.array == SIDE_VALUE[side]).any(axis=(1, 2)) for side in SIDES], axis=1)
    missed = 0
    for index, side in half_slices[["slice", "side"]].drop_duplicates().itertuples(index=False):
        if side not in SIDES or not 0 <= index < len(found):
            raise DataError(
                f"half-slice {index} {side} does not exist in a stack of {len(found)} slices: number slices from 0 in "
                "the canonical order and name sides R and L in the readers' table"
            )
        missed += not found[int(index), SIDES.index(side)]
    return int(missed)


def accept(
    joints: Mapping[str, Volume] | Iterable[tuple[str, Volume]],
    half_slices: pd.DataFrame,
    manual: Collection[str],
    params: Increment,
) -> pd.DataFrame:
    """Decide for every patient whether the joint was found often enough (section 4.1).

    Args:
        joints: joint mask of every patient, by name; pairs are taken one at a time, so a generator keeps memory low.
        half_slices: `patient, slice, side, ...`: what the readers chose, all patients.
        manual: patients whose bones were annotated by hand; they are in the set whatever the criterion says.
        params: `max_missed`, the most half-slices without a joint that an accepted patient may have.

    Returns:
        `patient, source, half_slices, missed, accepted`, one row per patient in the order given: source `manual` or
        `predicted`, the number of half-slices chosen and of those without a joint. A predicted patient without any
        chosen half-slice cannot be judged and is not accepted.

    Raises:
        DataError: the table names a half-slice that a patient does not have; says which patient.
    """
    chosen = dict(iter(half_slices.assign(patient=half_slices["patient"].astype(str)).groupby("patient")))
    nothing = half_slices.iloc[:0]
    rows = []
    for patient, volume in joints.items() if isinstance(joints, Mapping) else joints:
        mine = chosen.get(str(patient), nothing)
        try:
            missed = missed_half_slices(volume, mine)
        except DataError as error:
            raise DataError(f"patient {patient}: {error}") from None
        count = len(mine[["slice", "side"]].drop_duplicates())
        by_hand = patient in manual
        accepted = by_hand or (count > 0 and missed <= params.max_missed)
        rows.append((str(patient), MANUAL if by_hand else PREDICTED, count, missed, accepted))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"half_slices": int, "missed": int, "accepted": bool})


def widest_window(patient: str, joints: Volume, depth_mm: float = WINDOW_MM) -> pd.DataFrame:
    """Return the half-slices that stand in for a readers' choice where there is none.

    The readers of the paper chose consecutive slices through the joint. Without readers, the consecutive slices of that
    depth that hold the largest joint area are taken, both sides of each; a gap or a missing side inside is then a miss.

    Args:
        patient: name for the table.
        joints: joint mask `(slice, row, column)`.
        depth_mm: depth of the window; a stack that is less deep is taken whole.

    Returns:
        `patient, slice, side`.
    """
    slices = len(joints.array)
    length = min(slices, max(1, round(depth_mm / joints.spacing[0])))
    area = np.concatenate([[0], np.cumsum((joints.array > 0).sum(axis=(1, 2)))])
    first = int(np.argmax(area[length:] - area[:-length])) if slices else 0
    rows = [(patient, index, side) for index in range(first, first + length) for side in SIDES]
    return pd.DataFrame(rows, columns=["patient", "slice", "side"])
