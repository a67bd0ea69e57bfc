"""Locate the loss of agreement on half-slices: the count of boxes, their class, or the ranking of half-slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from axspa_lib.diagnosis.readings import CONSENSUS, readings_wide, reference_and_answer
from axspa_lib.diagnosis.rules import KEY, Members, half_slice_results
from axspa_lib.diagnosis.votes import checked_members, ensemble_vote
from axspa_lib.real_mri.lesions import mean_by_patient
from axspa_lib.stats import Interval, bootstrap_by_patient, confusion, mcc_counts, roc
from axspa_lib.study.config import experiments
from axspa_lib.study.errors import DataError
from axspa_lib.study.formatting import with_interval

#: Rows of `error_table`, in its order.
PAPER, ANY, BEST, RANKING, WITHIN = (
    "the paper's rule: exactly one box, or wrong",
    "wrong counts forgiven: inflamed if any box is",
    "the best box of each side",
    "ranking of all half-slices",
    "ranking within a subject",
)
#: Area under the ROC of scores drawn at random.
CHANCE_AREA = 0.5
#: Classes of `rates_by_size`: mean drawn area of a half-slice that is inflamed for the consensus, mm².
SIZES = {
    "inflamed, up to 50 mm²": (-np.inf, 50),
    "inflamed, 50 to 200 mm²": (50, 200),
    "inflamed, more than 200 mm²": (200, np.inf),
}


def best_boxes(detections: pd.DataFrame) -> pd.DataFrame:
    """Return the detection with the highest score of each half-slice, however low: a side has one joint."""
    return detections.sort_values("score", ascending=False, kind="stable").drop_duplicates(KEY).sort_index()


def best_box_results(predictions: Mapping[int, pd.DataFrame], evaluated: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """Return `half_slice_results` by member from the best box of each half-slice evaluated, without a threshold."""
    return {seed: half_slice_results(best_boxes(table), evaluated[KEY], 0.0) for seed, table in predictions.items()}


def chance_mcc(truth: ArrayLike, answer: ArrayLike, failed: ArrayLike) -> float:
    """Return the MCC expected when the classes of the counted boxes are shuffled among them.

    Failures (no box or several) keep their forced error, so chance lies below 0 where there are any. A shuffle changes
    no margin of the table of counts, and with fixed margins the MCC is linear in its counts: the mean over all
    permutations is the MCC of the mean counts.

    Args:
        truth: 0 or 1 of each half-slice.
        answer: 0 or 1; the opposite of the truth where failed.
        failed: not exactly one box.
    """
    truth, answer, failed = np.asarray(truth, float), np.asarray(answer, float), np.asarray(failed, bool)
    counted = truth[~failed]
    share = answer[~failed].mean() if counted.size else 0.0
    shuffled = (counted * share, (1 - counted) * (1 - share), (1 - counted) * share, counted * (1 - share))
    forced = confusion(truth[failed], answer[failed]).sum(axis=0)
    return round(float(mcc_counts(forced + np.sum(shuffled, axis=1))), 12)  # 0 without failures, not rounding noise


@dataclass(frozen=True)
class Answers:
    """Readings of the half-slices with a joint, and the ensemble's answers to them.

    Attributes:
        wide: readings and consensus of each half-slice, a column per reading (`diagnosis.readings.readings_wide`).
        readings: their names.
        any_box: `half_slice_results` of the ensemble with the study's threshold.
        best_box: the same columns from the best box of each half-slice.
    """

    wide: pd.DataFrame
    readings: list[str]
    any_box: pd.DataFrame
    best_box: pd.DataFrame


def answers(half_slices: pd.DataFrame, members: Members, best: Members, only: pd.DataFrame) -> Answers:
    """Collect readings and the ensemble's votes.

    Args:
        half_slices: readings, `patient, slice, side, reader, inflammation`.
        members: `half_slice_results` by seed with the study's threshold.
        best: `best_box_results`.
        only: `patient, slice, side` that contain a joint.
    """
    votes = (ensemble_vote(checked_members(tables), "half_slice") for tables in (members, best))
    return Answers(*readings_wide(half_slices, only=only), *votes)


def error_table(given: Answers, n: int = 2000) -> pd.DataFrame:
    """Compare the ensemble with the consensus, removing one cause of error after another.

    The first three rows are MCC: by the paper's rule, with wrong counts forgiven, and with the best box of each side.
    The last two are areas under the ROC of the best boxes' probability, over all half-slices and over pairs within one
    subject, which a shift of all probabilities of a subject cannot change. `n` is the number of bootstrap resamples.

    Returns:
        `answer, measure, value, low, high, chance, n, patients`.

    Raises:
        DataError: the consensus has one class only.
    """
    counted = {
        PAPER: given.any_box,
        ANY: given.any_box.assign(correct_count=True),
        BEST: given.best_box.assign(correct_count=True),
    }
    rows = []
    for name, results in counted.items():
        truth, answer, patients, failed = reference_and_answer(given.wide, CONSENSUS, results)
        found = bootstrap_by_patient(mcc_counts, confusion(truth, answer), patients, n, method="jeffreys")
        rows.append((name, "MCC", found, chance_mcc(truth, answer, failed)))
    scored = scored_half_slices(given)
    area = roc(scored["inflammation"], scored["p_inflamed"], scored["patient"], n).area
    rows.append((RANKING, "area under the ROC", area, CHANCE_AREA))
    rows.append((WITHIN, "area under the ROC", area_within_subjects(scored, n), CHANCE_AREA))
    return pd.DataFrame(
        [(name, measure, found.value, found.low, found.high, chance, found.n, found.patients)
         for name, measure, found, chance in rows],
        columns=["answer", "measure", "value", "low", "high", "chance", "n", "patients"],
    )  # fmt: skip


def format_errors(table: pd.DataFrame) -> pd.DataFrame:
    """Return `error_table` as text for a page."""
    made = table[["answer", "measure"]].copy()
    made["value [95 % interval]"] = [with_interval(*row) for row in table[["value", "low", "high"]].to_numpy()]
    made["by chance"] = (table["chance"].round(2) + 0.0).map("{:.2f}".format)
    return made


def interpret_ranking(table: pd.DataFrame) -> str:
    """Say in a sentence what the two areas under the ROC of `error_table` mean."""
    over, within = (table.set_index("answer").loc[name, ["value", "low", "high"]] for name in (RANKING, WITHIN))
    if over["low"] > CHANCE_AREA:
        meaning = "half-slices of subjects never seen are ranked better than chance, so a right threshold is missing"
    elif within["low"] > CHANCE_AREA:
        meaning = (
            "half-slices are ranked better than chance within a subject but not over subjects: the level of the "
            "probability moves from one examination to the next, and no single threshold serves all"
        )
    else:
        meaning = (
            "both intervals hold 0.5, so no threshold would mend it: what was learnt from these few subjects does not "
            "rank the half-slices of another one"
        )
    over_all, in_one = with_interval(*over), with_interval(*within)
    return f"The area under the ROC is {over_all} over all half-slices and {in_one} within a subject: {meaning}."


def rates_by_size(given: Answers, areas: pd.DataFrame) -> pd.DataFrame:
    """Return how often a half-slice is called inflamed, by the area that the readings drew on it.

    Args:
        given: of `answers`.
        areas: drawn areas by quadrant, `patient, reader, slice, side, quadrant, area_mm2`.

    Returns:
        `size` (healthy for the consensus, or a key of `SIZES`), `n`, and the shares called inflamed: `readings` (mean
        over the readings), `any_box` and `best_box` of the ensemble. On healthy half-slices these are false alarms.
    """
    table = given.wide.dropna(subset=[*given.readings, CONSENSUS])
    drawn = areas.groupby([*KEY, "reader"])["area_mm2"].sum().groupby(KEY).mean().rename("mm2").reset_index()
    table = table.merge(drawn.astype({"patient": str}), on=KEY, how="left").fillna({"mm2": 0.0})
    table["readings"] = table[given.readings].mean(axis=1)
    for name, vote in (("any_box", given.any_box), ("best_box", given.best_box)):
        table = table.merge(vote[[*KEY, "positive"]].rename(columns={"positive": name}), on=KEY, validate="one_to_one")
    table["size"] = "healthy"
    for name, (above, most) in SIZES.items():
        table.loc[(table[CONSENSUS] == 1) & (table["mm2"] > above) & (table["mm2"] <= most), "size"] = name
    means = table.groupby("size")[["readings", "any_box", "best_box"]].mean()
    means.insert(0, "n", table["size"].value_counts())
    return means.loc[[name for name in ("healthy", *SIZES) if name in means.index]].reset_index()


def scored_half_slices(given: Answers) -> pd.DataFrame:
    """Return `patient, slice, side, inflammation` (consensus) and `p_inflamed` (mean of the members, best boxes)."""
    truth = given.wide.dropna(subset=[CONSENSUS])[[*KEY, CONSENSUS]].rename(columns={CONSENSUS: "inflammation"})
    return truth.merge(given.best_box[[*KEY, "p_inflamed"]], on=KEY, validate="one_to_one")


def area_within_subjects(scored: pd.DataFrame, n: int = 2000) -> Interval:
    """Return the share of within-patient pairs, inflamed and healthy, in the right order (a tie is half).

    Args:
        scored: `patient, inflammation, p_inflamed`.
        n: bootstrap resamples, by patient.

    Raises:
        DataError: no patient has both classes.
    """
    rows = []
    for _, part in scored.groupby("patient"):
        healthy, inflamed = (part.loc[part["inflammation"] == label, "p_inflamed"].to_numpy(float) for label in (0, 1))
        order = np.sign(inflamed[:, None] - healthy[None, :]) / 2 + 0.5
        rows.append((order.sum(), order.size))
    counts = np.array(rows, float)
    if not counts[:, 1].any():
        raise DataError("no patient has inflamed and healthy half-slices: nothing can be ranked within one")
    with np.errstate(invalid="ignore"):  # resamples without a pair are not a number and left out
        found = bootstrap_by_patient(lambda sums: sums[..., 0] / sums[..., 1], counts, np.arange(len(counts)), n)
    return Interval(found.value, found.low, found.high, len(scored), len(counts))


def located(predictions: Mapping[int, pd.DataFrame], rois: pd.DataFrame, n: int = 2000) -> Interval:
    """Return the share of ROIs on which the best box of any class lies (overlap of a half or more).

    Args:
        predictions: detections by member; the members are averaged.
        rois: `patient, slice, side, left, top, right, bottom`.
        n: bootstrap resamples, by patient.
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
    return mean_by_patient(np.mean(hits, axis=0), rois["patient"], n)


def format_located(
    predictions: Mapping[str, Mapping[int, pd.DataFrame]], rois: Mapping[str, pd.DataFrame], n: int = 2000
) -> pd.DataFrame:
    """Return `located` by experiment as text for a page, of the experiments whose ROIs are given."""
    rows = []
    for name, boxes in rois.items():
        found = located(predictions[name], boxes, n)
        text = f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]"
        rows.append((experiments()[name]["label"], text, found.n, found.patients))
    return pd.DataFrame(rows, columns=["experiment", "best box on the ROI", "half-slices", "examinations"])
