"""Where agreement on half-slices is lost: to the count of boxes, to the class, or to the ranking of the half-slices."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.readings import CONSENSUS, readings_wide, reference_and_answer
from axspa_lib.diagnosis.rules import KEY, Members, half_slice_results
from axspa_lib.diagnosis.votes import checked_members, ensemble_vote
from axspa_lib.stats import Interval, bootstrap_by_patient, confusion, mcc_counts, roc
from axspa_lib.study.config import experiments
from axspa_lib.study.errors import DataError

#: Rows of `causes`, in its order, and what a value of each would be by chance.
PAPER, ANY, BEST, RANKING, WITHIN = (
    "the paper's rule: exactly one box, or wrong",
    "wrong counts forgiven: inflamed if any box is",
    "the best box of each side",
    "ranking of all half-slices",
    "ranking within a subject",
)
#: Bounds of the drawn area of a half-slice in `by_size`, mm² (mean over the readings).
SIZES_MM2 = (50, 200)
CHANCE = {PAPER: 0.0, ANY: 0.0, BEST: 0.0, RANKING: 0.5, WITHIN: 0.5}


def best_boxes(detections: pd.DataFrame) -> pd.DataFrame:
    """Of each half-slice the stored detection with the highest score: a side has one joint, so one box.

    Args:
        detections: `diagnosis.DETECTION_COLUMNS`; all that were stored, however unsure.
    """
    return detections.sort_values("score", ascending=False, kind="stable").drop_duplicates(KEY).sort_index()


def best_box_results(predictions: Mapping[int, pd.DataFrame], evaluated: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """`diagnosis.half_slice_results` by member from the best box of each half-slice, without a threshold.

    Args:
        predictions: detections by member.
        evaluated: `patient, slice, side` of every half-slice that counts.
    """
    return {seed: half_slice_results(best_boxes(table), evaluated[KEY], 0.0) for seed, table in predictions.items()}


def causes(
    half_slices: pd.DataFrame, members: Members, best: Members, only: pd.DataFrame, n: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """The ensemble against the consensus with one cause of error after another taken away.

    The first three rows are MCC: by the paper's rule, with wrong counts forgiven, and with the best box of each side,
    which leaves no count to be wrong. The last two ask whether the probability of the best boxes puts inflamed
    half-slices above healthy ones: the area under the ROC over all half-slices, and over pairs within one subject
    only, which a shift of all probabilities of a subject cannot harm. A good ranking with a poor MCC is a matter of
    thresholds; a poor ranking is one of what was learnt.

    Args:
        half_slices: readings, `patient, slice, side, reader, inflammation`.
        members: `half_slice_results` by seed with the study's threshold.
        best: `best_box_results`.
        only: `patient, slice, side` that contain a joint.
        n: bootstrap resamples, by examination.
        seed: of the bootstrap.

    Returns:
        `answer, measure, value, low, high, chance, n, patients`.

    Raises:
        DataError: the consensus is of one class only.
    """
    wide, _ = readings_wide(half_slices, only=only)
    wide = wide.dropna(subset=[CONSENSUS])
    vote, best_vote = (ensemble_vote(checked_members(tables), "half_slice") for tables in (members, best))
    rows = []
    for name, results in ((PAPER, vote), (ANY, vote.assign(correct_count=True)),
                          (BEST, best_vote.assign(correct_count=True))):  # fmt: skip
        truth, answer, patients, _ = reference_and_answer(wide, CONSENSUS, results)
        rows.append(
            (name, "MCC", bootstrap_by_patient(mcc_counts, confusion(truth, answer), patients, n, seed, "jeffreys"))
        )
    each = probabilities(wide, best_vote)
    curve = roc(each["inflammation"], each["p_inflamed"], each["patient"], n, seed)
    rows.append((RANKING, "area under the ROC", curve.area))
    rows.append((WITHIN, "area under the ROC", within_subjects(each, n, seed)))
    return pd.DataFrame(
        [(name, measure, found.value, found.low, found.high, CHANCE[name], found.n, found.patients)
         for name, measure, found in rows],
        columns=["answer", "measure", "value", "low", "high", "chance", "n", "patients"],
    )  # fmt: skip


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """`causes` as text fit for a page."""
    return pd.DataFrame(
        {
            "answer": table["answer"],
            "measure": table["measure"],
            "value": table["value"].map("{:.2f}".format),
            "95 % interval": [f"[{a:.2f}, {b:.2f}]" for a, b in zip(table["low"], table["high"], strict=True)],
            "by chance": table["chance"].map("{:g}".format),
        }
    )


def verdict(table: pd.DataFrame) -> str:
    """What the last two rows of `causes` say, in a sentence."""
    rows = table.set_index("answer")
    over, within = rows.loc[RANKING], rows.loc[WITHIN]
    figures = ", ".join(
        f"{where} {row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        for where, row in (("over all half-slices", over), ("within subjects", within))
    )
    if over["low"] > CHANCE[RANKING]:
        said = "half-slices of subjects never seen are ranked better than chance, so a right threshold is missing"
    elif within["low"] > CHANCE[WITHIN]:
        said = (
            "half-slices are ranked better than chance within a subject but not over subjects: the level of the "
            "probability moves from one examination to the next, and no single threshold serves all"
        )
    else:
        said = (
            "both intervals hold 0.5, so no threshold would mend it: what was learnt from these few subjects does not "
            "rank the half-slices of another one"
        )
    return f"The area under the ROC is {figures}: {said}."


def by_size(
    half_slices: pd.DataFrame, areas: pd.DataFrame, members: Members, best: Members, only: pd.DataFrame
) -> pd.DataFrame:
    """Who calls a half-slice inflamed, by how much the readings drew on it.

    Args:
        half_slices: readings.
        areas: drawn areas by quadrant, `patient, reader, slice, side, quadrant, area_mm2`.
        members: `half_slice_results` by seed with the study's threshold.
        best: `best_box_results`.
        only: `patient, slice, side` that contain a joint.

    Returns:
        `size` (the consensus, and the drawn area as a mean over the readings), `n`, and the shares of these half-slices
        called inflamed: `readings` (mean over the readings), `any_box` and `best_box` of the ensemble. The first row is
        of the half-slices that are healthy for the consensus: false alarms.
    """
    wide, names = readings_wide(half_slices, only=only)
    wide = wide.dropna(subset=[*names, CONSENSUS])
    drawn = areas.groupby([*KEY, "reader"])["area_mm2"].sum().groupby(KEY).mean().rename("mm2").reset_index()
    table = wide.merge(drawn.astype({"patient": str}), on=KEY, how="left").fillna({"mm2": 0.0})
    table["readings"] = table[names].mean(axis=1)
    for name, tables in (("any_box", members), ("best_box", best)):
        vote = ensemble_vote(checked_members(tables), "half_slice")
        table = table.merge(vote[[*KEY, "positive"]].rename(columns={"positive": name}), on=KEY, validate="one_to_one")
    inner = pd.cut(table["mm2"], [-np.inf, *SIZES_MM2, np.inf], labels=False)
    labels = [f"inflamed, up to {SIZES_MM2[0]} mm²", *(f"inflamed, {a} to {b} mm²" for a, b in pairwise(SIZES_MM2)),
              f"inflamed, more than {SIZES_MM2[-1]} mm²"]  # fmt: skip
    order = ["healthy", *labels]
    table["size"] = np.where(table[CONSENSUS] == 1, np.array(labels)[inner], order[0])
    found = table.groupby("size").agg(n=("mm2", "size"), readings=("readings", "mean"), any_box=("any_box", "mean"),
                                      best_box=("best_box", "mean"))  # fmt: skip
    return found.reindex([name for name in order if name in found.index]).reset_index()


def judged(half_slices: pd.DataFrame, best: Members, only: pd.DataFrame) -> pd.DataFrame:
    """`probabilities` of the ensemble of `best_box_results`, against the consensus of all readings.

    Args:
        half_slices: readings.
        best: `best_box_results`.
        only: `patient, slice, side` that contain a joint.
    """
    wide, _ = readings_wide(half_slices, only=only)
    return probabilities(wide, ensemble_vote(checked_members(best), "half_slice"))


def probabilities(wide: pd.DataFrame, vote: pd.DataFrame) -> pd.DataFrame:
    """`patient, slice, side, inflammation` (the consensus) and `p_inflamed` (mean of the members) of every half-slice.

    Args:
        wide: from `readings_wide`.
        vote: `ensemble_vote` of half-slices.
    """
    truth = wide.dropna(subset=[CONSENSUS])[[*KEY, CONSENSUS]].rename(columns={CONSENSUS: "inflammation"})
    return truth.merge(vote[[*KEY, "p_inflamed"]], on=KEY, validate="one_to_one")


def within_subjects(each: pd.DataFrame, n: int = 2000, seed: int = 0) -> Interval:
    """Share of pairs of an inflamed and a healthy half-slice *of one patient* in the right order (a tie is half).

    Args:
        each: `patient, inflammation, p_inflamed`.
        n: bootstrap resamples, by patient.
        seed: of the bootstrap.

    Raises:
        DataError: no patient has both classes.
    """
    rows = []
    for _, part in each.groupby("patient"):
        inflamed = part.loc[part["inflammation"] == 1, "p_inflamed"].to_numpy(float)
        healthy = part.loc[part["inflammation"] == 0, "p_inflamed"].to_numpy(float)
        order = np.sign(inflamed[:, None] - healthy[None, :]) / 2 + 0.5
        rows.append((order.sum(), order.size))
    counts = np.array(rows, float)
    if not counts[:, 1].any():
        raise DataError("no patient has inflamed and healthy half-slices: nothing can be ranked within one")
    found = bootstrap_by_patient(_ratio, counts, np.arange(len(counts)), n, seed)
    return Interval(found.value, found.low, found.high, len(each), len(counts))


def located(predictions: Mapping[int, pd.DataFrame], rois: pd.DataFrame, n: int = 2000, seed: int = 0) -> Interval:
    """Share of ROIs whose best box lies on them: boxes that overlap by half or more (intersection over union).

    The mean over the members; the interval resamples patients. It asks for the place only, never for the class.

    Args:
        predictions: detections by member.
        rois: `patient, slice, side, left, top, right, bottom`.
        n: bootstrap resamples.
        seed: of the bootstrap.
    """
    hits = []
    for table in predictions.values():
        both = rois.merge(best_boxes(table)[[*KEY, "x0", "y0", "x1", "y1"]], on=KEY, how="left")
        wide = np.minimum(both["x1"], both["right"]) - np.maximum(both["x0"], both["left"])
        high = np.minimum(both["y1"], both["bottom"]) - np.maximum(both["y0"], both["top"])
        common = np.maximum(0, wide) * np.maximum(0, high)
        areas = (both["x1"] - both["x0"]) * (both["y1"] - both["y0"])
        areas = areas + (both["right"] - both["left"]) * (both["bottom"] - both["top"])
        hits.append((common / (areas - common) >= 0.5).to_numpy(float))
    mean = np.mean(hits, axis=0)
    return bootstrap_by_patient(_ratio, np.stack([mean, np.ones_like(mean)], axis=1), rois["patient"], n, seed)


def located_table(
    predictions: Mapping[str, Mapping[int, pd.DataFrame]], rois: Mapping[str, pd.DataFrame], n: int = 2000
) -> pd.DataFrame:
    """`located` by experiment as text fit for a page; predictions and ROIs by experiment."""
    rows = []
    for name, members in predictions.items():
        found = located(members, rois[name], n)
        text = f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]"
        rows.append((experiments()[name]["label"], text, found.n, found.patients))
    return pd.DataFrame(rows, columns=["experiment", "best box on the ROI", "half-slices", "examinations"])


def _ratio(sums: np.ndarray) -> np.ndarray:
    return np.divide(sums[..., 0], sums[..., 1], out=np.full(sums.shape[:-1], np.nan), where=sums[..., 1] > 0)
