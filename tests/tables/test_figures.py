"""The figures of the results draw what their tables say: every cell, label and published mark."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from axspa_lib.stats.bands import band

from axspa_lib import stats as agreement
from axspa_lib import tables
from axspa_lib.book.figures import durations
from axspa_lib.diagnosis import figures as diagnosis_figures
from axspa_lib.diagnosis import sweeps
from axspa_lib.diagnosis.rules import ensemble_vote, every_half_slice
from axspa_lib.findings import claims
from axspa_lib.findings import figures as findings_figures
from axspa_lib.study.labels import MARKS
from axspa_lib.tables import figures
from axspa_lib.tables import sensitivity as beyond


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(0)
    opinions = pd.DataFrame([(f"p{i}", r, int(rng.random() < 0.4)) for i in range(20) for r in "123"],
                            columns=["patient", "reader", "asas_positive"])  # fmt: skip
    names = opinions["patient"].unique()
    members = {}
    for seed in range(3):
        positive = rng.integers(0, 2, len(names))
        score = rng.random(len(names)) / 2 + positive / 2
        members[seed] = pd.DataFrame(
            {"patient": names, "positive_rois": 2 * positive, "positive": positive, "score": score}
        )
    return opinions, members


def drawn(figure) -> str:
    """All text of a figure, after it was rendered without a warning."""
    figure.savefig(io.BytesIO(), format="png")
    return " | ".join(text.get_text() for text in figure.findobj(lambda item: hasattr(item, "get_text")))


def test_forest_shows_every_cell_and_published_figure(study):
    cells = tables.table3_cells(*study, n=30)
    figure = figures.forest(cells, "Table 3", "phantom")
    text = drawn(figure)
    assert all(f"{c.row} – {c.column} (n = {c.n})" in text for c in cells.itertuples())
    assert MARKS["phantom"] in text and "MCC × 100" in text
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "|" and len(line.get_xdata())]
    assert [line.get_xdata()[0] for line in marks] == cells["published"].dropna().tolist()


def test_ablations_show_differences(study):
    opinions, members = study
    cells = tables.table4_cells(
        {"ASAS": {"all_included": members, "no_clahe": {1: members[2]}}}, {"ASAS": opinions}, n=30
    )
    figure = figures.ablations(cells, "real")
    assert "No CLAHE" in drawn(figure)
    points = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert points == pytest.approx(cells["difference"].dropna().tolist())


def test_curves_and_reliability_state_their_area(study):
    opinions, members = study
    vote = ensemble_vote(members)
    truth = opinions.groupby("patient")["asas_positive"].sum().loc[vote["patient"]] >= 2
    case = truth.astype(int), vote["score"], vote["patient"]
    roc, curve = agreement.roc(*case, n=50), agreement.precision_recall(*case, n=50)
    shadow = band(*case, n=50)
    text = drawn(
        diagnosis_figures.curves(
            {"ensemble": roc}, {"ensemble": curve}, {"ensemble": truth.mean()}, "phantom", ({"ensemble": shadow}, {})
        )
    )
    assert f"ensemble: {roc.area.value:.2f}" in text and f"ensemble: {curve.area.value:.2f}" in text
    assert "sensitivity" in text and "precision" in text
    perfect = agreement.roc([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], list("abcd"), n=50)
    assert "no interval: no pair in wrong order" in drawn(
        diagnosis_figures.curves({"x": perfect}, {"x": perfect}, {"x": 0.5})
    )
    assert "Brier score 0.250" in drawn(diagnosis_figures.reliability(agreement.calibration(*case, n=50), 0.25))


def test_other_figures_carry_their_labels(study):
    opinions, members = study
    grid = every_half_slice(pd.DataFrame({"patient": opinions["patient"].unique(), "slices": 2}))
    rng = np.random.default_rng(1)
    inflamed = rng.integers(0, 2, len(grid))
    halves = {0: grid.assign(boxes=1, inflamed=inflamed, positive=inflamed, correct_count=True,
                             p_inflamed=inflamed * 0.8)}  # fmt: skip
    assert "≥ 2" in drawn(diagnosis_figures.decision_rules(sweeps.rule_sensitivity(halves, opinions, n=30)))
    gained = sweeps.abstention(ensemble_vote(members), opinions, n=30)
    assert "share of patients answered" in drawn(diagnosis_figures.abstention(gained, "phantom"))
    sweep = pd.DataFrame(
        {"threshold": [0.5, 0.7], "value": [0.2, 0.4], "low": 0.1, "high": 0.5, "wrong_counts": [0.3, 0.1]}
    )
    assert "used: 0.7" in drawn(diagnosis_figures.thresholds(sweep, 0.7))
    curve = pd.DataFrame({"patients": [5, 10], "value": [1, 2], "low": 0, "high": 3, "series": ["one", "two"]})
    assert "annotated patients" in drawn(figures.learning_curve(curve, "annotated patients"))
    grouped = beyond.by_group(grid.assign(reference=inflamed, prediction=inflamed), "slice", n=30)
    assert "n = 40" in drawn(figures.groups({"slice": grouped, "again": grouped}))
    sizes = pd.DataFrame({"group": ["none", "none", "any", "any"], "series": ["readers", "ensemble"] * 2,
                          "value": [0.1, 0.2, 0.7, 0.8], "low": 0.0, "high": 1.0, "n": [9, 9, 5, 5]})  # fmt: skip
    figure = figures.marked_by_size(sizes, "phantom")
    text = drawn(figure)
    assert "none\nn = 9" in text and "any\nn = 5" in text and "readers" in text and "ensemble" in text
    points = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines if len(line.get_ydata()) == 2}
    assert points["readers"] == [0.1, 0.7] and points["ensemble"] == [0.2, 0.8]
    assert "not known" in drawn(figures.marked_by_size(None, "real"))


def test_findings_show_every_claim():
    table = claims.findings({"iliac_easier": agreement.Interval(5, 2, 8, 9, 9)})
    text = drawn(findings_figures.findings(table))
    assert all(claim.text in text for claim in claims.CLAIMS)


def test_durations_show_every_job_and_the_share_of_each_kind():
    jobs = pd.DataFrame({"kind": ["curation", "training", "training"], "seconds": [10.0, 60.0, 30.0]})
    (axis,) = durations(jobs).axes
    labels = [text.get_text() for text in axis.get_yticklabels()]
    assert labels == ["training (90% of the time)", "curation (10% of the time)"]
    points = np.concatenate([line.get_xdata() for line in axis.lines if line.get_marker() == "o"])
    assert sorted(points) == [10, 30, 60]
