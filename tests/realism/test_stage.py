"""The stage that sets the phantom beside real scans: who is compared, who is left out, what is written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from axspa_lib.phantom.person.disease import ACTIVE
from axspa_lib.realism import stage as likeness
from axspa_lib.realism.real_scans import patients_of_vhi
from axspa_lib.study.config import load_study
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SEQUENCES


class Curated:
    """As much of a curated cohort as the stage reads: textures whose grain tells the kind; one patient is broken."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        count = {"phantom-desir": 6, "vhi": 6, "iaxspa-demo": 1}[self.name]
        names = [f"{self.name}-{n}" for n in range(count)]
        # the two examinations of every second person of the real collection
        subjects = [f"S{n // 2}" if self.name == "vhi" and n < 2 else f"S{n + 10}" for n in range(count)]
        has_stir = [not (self.name == "vhi" and n == 5) for n in range(count)]
        self.participants = pd.DataFrame({"patient": names, "subject": subjects, "has_stir": has_stir})

    def volume(self, patient: str, sequence: str) -> SimpleNamespace:
        if patient == "phantom-desir-5" and sequence == "T1":
            raise DataError(f"{patient}: its file is damaged")
        grain = 0.8 if self.name.startswith("phantom") else 2.0
        noise = np.random.default_rng([*patient.encode()]).normal(size=(5, 190, 190))
        texture = ndimage.gaussian_filter(noise, (0, grain, grain))
        image = np.maximum(100 * (1 + 0.3 * texture / texture.std()), 0)
        return SimpleNamespace(array=image, spacing=(4.0, 1.0, 1.0))


def test_the_classifier_is_trained_by_sequence_and_a_broken_patient_is_left_out_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(likeness, "Cohort", Curated)
    failures: list[dict[str, str]] = []
    layout = SimpleNamespace(cohort=lambda name: tmp_path / name)
    metrics = likeness._classify(SimpleNamespace(seed=1), layout, tmp_path, failures)
    assert failures == [{"patient": "phantom-desir-5", "reason": "phantom-desir-5: its file is damaged"}]
    assert set(metrics) == {f"{sequence}_{level}" for sequence in SEQUENCES for level in ("slices", "patients")}
    assert min(metrics.values()) > 0.9
    scores = pd.read_csv(tmp_path / "scores.csv")
    judged = scores.groupby("sequence")["patient"].nunique()
    assert judged.to_dict() == {"T1": 12, "STIR": 12}  # 13 scans, without the broken T1 and the absent STIR
    assert scores.loc[scores["patient"].str.startswith("phantom"), "real"].eq(False).all()
    assert set(pd.read_csv(tmp_path / "looks_at.csv")["looks_at"]) == set(likeness.likeness.GROUPS)
    assert len(pd.read_csv(tmp_path / "features.csv")) == 2 * len(likeness.likeness.FEATURES)


def test_a_pair_that_cannot_be_measured_stops_nothing(monkeypatch):
    def broken() -> None:
        raise DataError("no muscle was found")

    monkeypatch.setattr(likeness, "measure", lambda pair: {"T1_fat": pair})
    failures: list[dict[str, str]] = []
    table = likeness._measured([("A", lambda: 2.0), ("B", broken), ("C", lambda: 3.0)], failures)
    assert table.to_dict("list") == {"patient": ["A", "C"], "T1_fat": [2.0, 3.0]}
    assert failures == [{"patient": "B", "reason": "no muscle was found"}]


def test_pairs_with_a_fault_on_purpose_are_not_measured(tmp_path, monkeypatch):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "groups.csv").write_text(
        "patient,group,fault\nD1,clear,\nD2,clear,misregistered\nD3,inflamed,\n"
    )
    monkeypatch.setattr(likeness, "pair_of_source", lambda folder, patient: (folder, patient))
    pairs = [(patient, pair()) for patient, pair in likeness._phantom_pairs(tmp_path)]
    assert pairs == [("D1", (tmp_path, "D1")), ("D3", (tmp_path, "D3"))]


def test_real_scans_without_a_sequence_or_marrow_are_not_measured(tmp_path):
    marked, images = tmp_path / "segmentations" / "marrow", tmp_path / "images_study"
    for folder, names in ((marked, ("1_normal_marrow", "2_normal_marrow", "3_normal_marrow")),
                          (images / "T1W" / "Pre_Scans", ("1_T1W", "2_T1W", "4_T1W")),
                          (images / "STIR", ("1_STIR", "3_STIR", "4_STIR"))):  # fmt: skip
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.nii.gz").touch()
    assert patients_of_vhi(tmp_path) == ["1"]


@pytest.mark.real
def test_seven_public_scans_can_be_measured(real_data: Path):
    assert patients_of_vhi(real_data / "vhi") == ["1007", "1012", "1013", "1016", "1234", "2015", "4386"]


def test_the_person_shown_twice_changes_as_stated() -> None:
    images, course = likeness._examine_twice(load_study("smoke", phantoms={"phantom-desir": {"patients": 1}}))
    assert images["stir"].shape == images["active"].shape and len(images["stir"]) == 2
    first, second = images["active"]
    assert first.sum() > 2 * second.sum() > 0 and (first | ~second).mean() > 0.99
    assert images["stir"][1][first].mean() < 0.9 * images["stir"][0][first].mean()
    large = course[(course["before"] > 500) & course["type"].isin(ACTIVE)]
    assert len(large) and (large["after"] / large["before"]).median() == pytest.approx(0.3**1.5, abs=0.05)
