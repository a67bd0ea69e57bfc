"""The report against hand-made cohorts and scikit-learn; the figures hold what the tables say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

from axspa_lib.curation import figures, report
from axspa_lib.curation.curate import curate
from axspa_lib.curation.open import open_source
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.volume import Volume


@pytest.fixture(scope="module")
def cohort(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Twelve patients: one without STIR, one not registered, two disputed, one read beyond its slices."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("report") / "in"
    names = [f"P{n:02d}" for n in range(12)]
    for number, name in enumerate(names):
        elsewhere = {"frame": "1.9", "centre": (3.0, 20.0, 90.0)} if name == "P01" else {}
        make.pair(root / name, {"offset": number}, {"offset": number} | elsewhere)
    for file in (root / "P00" / "STIR").iterdir():
        file.unlink()
    readings, opinions = [], []
    for place, name in enumerate(names):
        positive = place % 3 == 0
        for reader in "123":
            opinions.append((name, reader, int(positive != (place in (4, 5) and reader == "3"))))
            for z in range(6 if name == "P02" else 5):
                for side in "LR":
                    flag = int((positive and rng.random() < 0.8) or rng.random() < 0.1)
                    readings.append((name, reader, z + 2 * (name == "P02"), side, "iliac_upper", flag))
    pd.DataFrame(readings, columns=["patient", "reader", "slice", "side", "quadrant", "inflammation"]).to_csv(
        root / "readings.csv", index=False
    )
    pd.DataFrame(opinions, columns=["patient", "reader", "asas_positive"]).to_csv(root / "opinions.csv", index=False)
    pd.DataFrame({"patient": names, "subject": names, "centre": [f"C{n % 3}" for n in range(12)]}).to_csv(
        root / "patients.csv", index=False
    )
    out = tmp_path_factory.mktemp("cohort") / "lab"
    return Cohort(curate(open_source(root), out, seed=0, bones_split=None, detection_split=(178, 25, 53)))


def test_flow_counts_every_patient_once(cohort: Cohort) -> None:
    table = report.flow(cohort)
    counts = table.set_index("what")["patients"]
    assert counts["examinations in the source"] == 12 and counts["included"] == 7
    excluded = table[table["step"] == "excluded"].set_index("what")["patients"]
    assert dict(excluded) == {
        "readers disagree, or no usable opinion": 2,
        "readings not usable": 1,
        "T1 or STIR not usable": 1,
        "no registered pair of T1 and STIR": 1,
    }
    assert table.loc[table["step"] == "subset", "patients"].sum() == 7


def test_reasons_group_what_differs_only_in_numbers(cohort: Cohort) -> None:
    table = report.reasons(cohort)
    row = table[table["reason"] == "readers disagree on the patient"].iloc[0]
    assert row["patients"] == 2 and row["excluded"] == 2
    assert table["patients"].sum() == 5


@pytest.mark.parametrize("measure", ["mcc", "kappa"])
@pytest.mark.parametrize("level", ["half_slice", "patient"])
def test_agreement_is_scikit_learns(cohort: Cohort, level: Any, measure: Any) -> None:
    values, cases = report.agreement(cohort, level, measure)
    if level == "patient":
        table, keys, value = cohort.opinions, ["patient"], "asas_positive"
    else:
        table, keys, value = cohort.half_slices, ["patient", "slice", "side"], "inflammation"
        table = table[table["patient"].isin(cohort.patients)]
    parts = {reader: part.set_index(keys)[value].sort_index() for reader, part in table.groupby("reader")}
    expected = matthews_corrcoef if measure == "mcc" else cohen_kappa_score
    for one, two in (("1", "2"), ("1", "3"), ("2", "3")):
        assert values.loc[one, two] == values.loc[two, one] == pytest.approx(expected(parts[one], parts[two]))
        assert cases.loc[one, two] == len(parts[one])


def test_prevalence_and_balance(cohort: Cohort) -> None:
    table = report.prevalence(cohort).set_index(["level", "reader"])
    assert table.loc[("patient", "1"), "n"] == 12 and table.loc[("patient", "1"), "positive"] == 4
    assert table.loc[("half_slice", "consensus"), "n"] == len(cohort.consensus())
    balance = report.split_balance(cohort)
    assert balance["patients"].sum() == 7
    scanners = report.scanners(cohort)
    assert scanners["examinations"].sum() == 7 and scanners.loc[0, "tr_t1_s"] == pytest.approx(0.55)
    assert "model" in report.missing_fields(cohort)


def test_contrast_and_shading_of_a_known_image() -> None:
    array = np.zeros((8, 80, 80), np.float32)
    array[:, 10:70, 10:70] = 100.0
    flat = report.intensity(Volume(array, np.diag([4.0, 2.0, 2.0, 1.0])))
    assert flat == {"contrast": pytest.approx(1.0), "shading": pytest.approx(1.0, abs=1e-3)}
    array[:, 10:70, 40:70] = 300.0
    two = report.intensity(Volume(array, np.diag([4.0, 2.0, 2.0, 1.0])))
    assert two["contrast"] == pytest.approx(3.0) and 1.5 < two["shading"] < 3.0


def test_figures_draw_what_the_tables_say(cohort: Cohort, tmp_path: Path) -> None:
    flow = figures.draw_flow(cohort)
    texts = [text.get_text() for axis in flow.axes for text in axis.texts]
    assert "7 included" in texts and any("2 left out" in text for text in texts), texts
    drawn = [
        flow,
        figures.draw_agreement(cohort, "patient"),
        figures.draw_agreement(cohort, "half_slice"),
        figures.draw_prevalence(cohort),
        figures.draw_scanners(cohort),
        figures.contact_sheet(cohort, cohort.patients[:2], slices=3),
    ]
    for number, figure in enumerate(drawn):
        figure.savefig(tmp_path / f"{number}.png", dpi=50)
        assert any("REAL MRI" in text.get_text() for text in figure.texts)
    absent = figures.contact_sheet(cohort, [])
    assert "the images of lab do not come with the repository" in absent.axes[0].texts[0].get_text()


def test_a_cohort_nobody_read_still_draws(make: Any, tmp_path: Path) -> None:
    make.pair(tmp_path / "in" / "P1")
    out = curate(open_source(tmp_path / "in"), tmp_path / "out", seed=0, bones_split=(3, 1, 1), detection_split=None)
    alone = Cohort(out)
    assert report.agreement(alone)[0].empty and report.prevalence(alone).empty
    for draw in (figures.draw_flow, figures.draw_agreement, figures.draw_prevalence, figures.draw_scanners):
        draw(alone).savefig(tmp_path / "figure.png", dpi=40)


def test_reasons_of_the_flow_read_as_phrases_without_their_figures(make: Any, tmp_path: Path) -> None:
    make.pair(tmp_path / "in" / "good")
    make.pair(tmp_path / "in" / "elsewhere", {}, {"centre": (3.0, 300.0, -40.0)})
    make.pair(tmp_path / "in" / "unregistered", {}, {"frame": "1.2.9", "centre": (3.0, 20.0, -60.0)})
    out = curate(open_source(tmp_path / "in"), tmp_path / "out", seed=0, bones_split=None, detection_split=None)
    flow = figures.draw_flow(Cohort(out))
    box = next(text.get_text() for axis in flow.axes for text in axis.texts if "2 left out" in text.get_text())
    assert box.split("\n")[1:] == [
        "1 STIR covers too few of the T1 slices",
        "1 T1 and STIR differ and do not share a frame of reference",
    ]
