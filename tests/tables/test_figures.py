"""The figures of the results draw what their tables say: every cell, label and published mark."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from axspa_lib.book.figures import durations
from axspa_lib.diagnosis import figures as diagnosis_figures
from axspa_lib.diagnosis import sweeps
from axspa_lib.diagnosis.votes import ensemble_vote
from axspa_lib.findings import claims
from axspa_lib.findings import figures as findings_figures
from axspa_lib.stats import Interval
from axspa_lib.stats.curves import band, calibration, precision_recall, roc
from axspa_lib.study.labels import MARKS
from axspa_lib.tables import figures
from axspa_lib.tables.rates import by_group
from axspa_lib.tables.table3 import table3
from axspa_lib.tables.table4 import table4
from tests.diagnosis.grids import every_half_slice

ROOT = Path(__file__).parents[2]


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
    cells = table3(*study, n_boot=30)
    figure = figures.table1(cells, "phantom")
    text = drawn(figure)
    assert all(f"{c.row} – {c.column} (n = {c.n})" in text for c in cells.itertuples())
    assert MARKS["phantom"] in text and "MCC × 100" in text
    (marks,) = [line for line in figure.axes[0].lines if line.get_marker() == "|"]
    assert marks.get_xdata().tolist()[::-1] == cells["published"].dropna().tolist()
    points = [x for line in figure.axes[0].lines if line.get_marker() in "osD^" for x in line.get_xdata()]
    assert sorted(points) == sorted(cells["value"])


def test_ablations_show_differences(study):
    opinions, members = study
    cells = table4({"ASAS": {"all_included": members, "no_clahe": {1: members[2]}}}, {"ASAS": opinions}, n_boot=30)
    figure = figures.ablations(cells, "real")
    assert "No CLAHE" in drawn(figure)
    points = [x for line in figure.axes[0].lines if line.get_marker() == "o" for x in line.get_xdata()]
    assert points == pytest.approx(cells["difference"].dropna().tolist())


def test_curves_and_reliability_state_their_area(study):
    opinions, members = study
    vote = ensemble_vote(members)
    truth = opinions.groupby("patient")["asas_positive"].sum().loc[vote["patient"]] >= 2
    case = truth.astype(int), vote["score"], vote["patient"]
    ranked, curve = roc(*case, n=50), precision_recall(*case, n=50)
    shadow = {"ensemble": band(*case, n=50)}
    text = drawn(
        diagnosis_figures.roc(
            {"ensemble": ranked}, {"ensemble": curve}, (shadow, shadow), {"ensemble": truth.mean()}, "phantom"
        )
    )
    assert f"ensemble: {ranked.area.value:.2f}" in text and f"ensemble: {curve.area.value:.2f}" in text
    assert "sensitivity" in text and "precision" in text
    perfect, x = {"ensemble": roc([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], list("abcd"), n=50)}, {"ensemble": 0.5}
    sure = diagnosis_figures.roc(perfect, perfect, (shadow, shadow), x, "phantom")
    assert "no interval: no pair in wrong order" in drawn(sure)
    assert "Brier score 0.250" in drawn(diagnosis_figures.reliability(calibration(*case, n=50), 0.25, "phantom"))


def test_other_figures_carry_their_labels(study):
    opinions, members = study
    grid = every_half_slice(list(opinions["patient"].unique()), 2)
    rng = np.random.default_rng(1)
    inflamed = rng.integers(0, 2, len(grid))
    halves = {0: grid.assign(boxes=1, inflamed=inflamed, positive=inflamed, correct_count=True,
                             p_inflamed=inflamed * 0.8)}  # fmt: skip
    assert "≥ 2" in drawn(diagnosis_figures.rules(sweeps.rule_sensitivity(halves, opinions, n=30), "phantom"))
    gained = sweeps.abstention(ensemble_vote(members), opinions, n=30)
    assert "share of patients answered" in drawn(diagnosis_figures.abstention(gained, "phantom"))
    sweep = pd.DataFrame(
        {"threshold": [0.5, 0.7], "value": [0.2, 0.4], "low": 0.1, "high": 0.5, "wrong_counts": [0.3, 0.1]}
    )
    assert "used: 0.7" in drawn(diagnosis_figures.thresholds(sweep, 0.7, "phantom"))
    curve = pd.DataFrame({"patients": [5, 10], "value": [1, 2], "low": 0, "high": 3, "series": ["one", "two"]})
    assert "annotated patients" in drawn(figures.learning(curve, "annotated patients", "MCC", "phantom"))
    grouped = by_group(grid.assign(reference=inflamed, prediction=inflamed), grid["slice"], n=30)
    assert "n = 40" in drawn(figures.groups({"slice": grouped, "again": grouped}, "phantom"))
    sizes = pd.DataFrame({"group": ["none", "none", "any", "any"], "series": ["readers", "ensemble"] * 2,
                          "value": [0.1, 0.2, 0.7, 0.8], "low": 0.0, "high": 1.0, "n": [9, 9, 5, 5]})  # fmt: skip
    figure = figures.lesion_size(sizes, "phantom")
    text = drawn(figure)
    assert "none\nn = 9" in text and "any\nn = 5" in text and "readers" in text and "ensemble" in text
    points = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines if len(line.get_ydata()) == 2}
    assert points["readers"] == [0.1, 0.7] and points["ensemble"] == [0.2, 0.8]
    assert "not known" in drawn(figures.lesion_size(None, "real"))


def test_findings_show_every_claim():
    table = claims.findings({"iliac_easier": Interval(5, 2, 8, 9, 9)})
    text = drawn(findings_figures.findings(table))
    assert all(claim.text in text for claim in claims.CLAIMS)


def test_durations_show_every_job_and_the_share_of_each_kind():
    jobs = pd.DataFrame({"kind": ["curation", "training", "training"], "seconds": [10.0, 60.0, 30.0]})
    (axis,) = durations(jobs).axes
    labels = [text.get_text() for text in axis.get_yticklabels()]
    assert labels == ["training (90% of the time)", "curation (10% of the time)"]
    points = np.concatenate([line.get_xdata() for line in axis.lines if line.get_marker() == "o"])
    assert sorted(points) == [10, 30, 60]


@pytest.mark.parametrize("chapter", ["06_ensemble", "07_tables", "08_ablations", "12_findings"])
def test_figures_are_drawn_by_the_function_that_bears_their_name(chapter):
    """`fig-lesion-size` of a chapter is drawn by `figures.lesion_size`: one search finds it."""
    notebook = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text())
    labelled = [
        (cell["metadata"]["mystnb"]["figure"]["name"], "".join(cell["source"]))
        for cell in notebook["cells"]
        if "figure" in cell["metadata"].get("mystnb", {})
    ]
    assert labelled
    for label, source in labelled:
        assert f"figures.{label.removeprefix('fig-').replace('-', '_')}(" in source
