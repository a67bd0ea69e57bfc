"""What the chapter on the detector shows: what is fed, which boxes are right, how far scores can be believed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from axspa_lib.detector import results as detector_results
from axspa_lib.detector.figures import calibration, network_input
from axspa_lib.study.config import load_study
from tests.detector.synthetic import write_cohort


class Stored(SimpleNamespace):
    """What of `Run` these functions read."""

    def evaluated(self, cohort: str | None = None) -> pd.DataFrame:
        return self.table

    def predictions(self, cohort: str | None = None) -> dict[int, pd.DataFrame]:
        return {0: self.boxes}

    def slices_folder(self, cohort: str | None = None) -> Path:
        return self.folder

    def cohort(self) -> Any:
        patients = ["p000", "p001", "without slices"]
        return SimpleNamespace(subset=lambda task, name: patients, with_images=patients)


@pytest.fixture(autouse=True)
def from_plain_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the readers of results take what a `Stored` holds."""
    for name in ("evaluated", "predictions", "slices_folder"):
        monkeypatch.setattr(detector_results, name, lambda run, *a, name=name: getattr(run, name)(*a))


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    """One slice whose right joint `[10, 20, 30, 60)` is inflamed and whose left one `[60, 20, 80, 60)` is not."""
    annotations = [
        {"image_id": 0, "side": "R", "bbox": [10, 20, 20, 40]}, {"image_id": 0, "side": "L", "bbox": [60, 20, 20, 40]},
    ]  # fmt: skip
    dataset = {"images": [{"id": 0, "patient": "p", "slice": 3}], "annotations": annotations}
    (tmp_path / "instances.json").write_text(json.dumps(dataset))
    table = pd.DataFrame({"patient": "p", "slice": [3, 3, 4], "side": ["R", "L", "R"], "joint": [True, True, False],
                          "inflammation": [1.0, 0.0, 0.0]})  # fmt: skip
    boxes = pd.DataFrame(
        [
            ("R", 10, 20, 30, 60, 1),  # the joint itself
            ("R", 10, 20, 30, 60, 0),  # of the wrong class
            ("R", 10, 20, 30, 41, 1),  # just over half of it
            ("R", 10, 20, 30, 39, 1),  # just under half of it
            ("L", 60, 20, 80, 60, 0),
            ("L", 70, 40, 90, 80, 0),  # a corner
        ],
        columns=["side", "x0", "y0", "x1", "y1", "label"],
    ).assign(patient="p", slice=3, score=0.9)
    return Stored(table=table, boxes=boxes, folder=tmp_path)


def test_a_box_is_right_when_half_of_it_and_its_class_are(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_results, "read_instances", lambda path: json.loads(path.read_text()))
    found = detector_results.judged_boxes(stored, 0)
    assert found["right"].tolist() == [True, False, True, False, True, False]


def test_a_box_on_a_half_slice_without_a_joint_is_not_judged(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_results, "read_instances", lambda path: json.loads(path.read_text()))
    stored.boxes = stored.boxes.assign(slice=4)
    assert len(detector_results.judged_boxes(stored, 0)) == 0


def test_the_views_are_what_the_training_feeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = write_cohort(tmp_path / "c", patients=2, slices=3)
    monkeypatch.setattr(detector_results, "read_instances", lambda path: json.loads(path.read_text()))
    study = load_study("smoke")
    views = detector_results.training_views(Stored(study=study, folder=folder))
    assert [len(view.rois) for view in views] == [2, 2, 2, 2] and views[0].title == "as preprocessed"
    assert {roi.label for roi in views[0].rois} == {0, 1}
    for view in views:
        np.testing.assert_array_equal(view.image[1], view.image[2])  # T1, STIR, STIR
        for roi in view.rois:
            y, x = roi.mask.nonzero()
            assert roi.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)
    figure = network_input(views, study.detector.channels, "phantom")
    assert [axis.get_title() for axis in figure.axes][:4] == [
        "channel 1: T1", "channel 2: STIR", "channel 3: STIR", "all three, as colours",
    ]  # fmt: skip


def test_the_diagram_shows_shares_intervals_and_cases() -> None:
    rows = np.array([[0.1, 0.2, 0.05, 0.4, 12.0], [0.9, 0.8, 0.7, 1.0, 30.0]])
    (axis,) = calibration({"box": rows}, "phantom").axes
    points, _, (bars,) = axis.containers[0].lines
    np.testing.assert_allclose(points.get_xydata(), rows[:, :2])
    np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], rows[:, 2:4])
    assert [text.get_text() for text in axis.texts] == ["12", "30"]
