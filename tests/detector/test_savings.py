"""What a saving changes is counted right; packing changes nothing on phantom slices, weights trained or generated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import detectron2_case as case
import numpy as np
import pandas as pd
import pytest
import torch
from pycocotools import mask as coco_mask

from axspa_lib.config import PhantomCohort, Preprocessing, load_study
from axspa_lib.detector.checkpoint import load_weights, to_detectron2
from axspa_lib.detector.data import DetectionData, Image
from axspa_lib.detector.inference import predict
from axspa_lib.detector.model import MaskRCNN, build_network
from axspa_lib.detector.packed import packed
from axspa_lib.detector.savings import changed, detections_by_way, ways
from axspa_lib.detector.training import train_detector
from axspa_lib.phantom.examination import draw_examination, render
from axspa_lib.preprocess import preprocess_slice


def table(*boxes: tuple[float, float, float, float], score: float = 0.9, label: int = 1) -> pd.DataFrame:
    rows = []
    for x0, y0, x1, y1 in boxes:
        mask = np.zeros((50, 60), np.uint8, order="F")
        mask[round(y0) : round(y1), round(x0) : round(x1)] = 1
        rle = coco_mask.encode(mask)["counts"].decode()
        rows.append({"patient": "p", "slice": 2, "x0": x0, "y0": y0, "x1": x1, "y1": y1, "score": score, "label": label,
                     "mask_rle": rle, "height": 50, "width": 60})  # fmt: skip
    return pd.DataFrame(rows)


ONE, TWO = (5.0, 6.0, 15.0, 30.0), (35.0, 6.0, 45.0, 30.0)


@pytest.mark.parametrize(
    ("other", "same", "gone", "exact"),
    [
        (table(ONE, TWO), 2, 0, 1),
        (table(TWO, ONE), 2, 0, 1),
        (table(ONE, (35.005, 6.0, 45.0, 30.0)), 2, 0, 1),
        (table(ONE, (35.02, 6.0, 45.0, 30.0)), 1, 0, 0),
        (table(ONE, TWO, score=0.9002), 0, 0, 0),
        (table(ONE), 1, 1, 0),
        (table(ONE, TWO, (20.0, 20.0, 30.0, 40.0)), 2, 0, 0),
        (table(ONE, TWO, label=0), 0, 2, 0),
        (pd.concat([table(ONE), table(TWO, score=0.4)]), 1, 1, 0),
        (table(ONE, (35.0, 6.0, 45.0, 30.0)).assign(mask_rle=table(ONE)["mask_rle"].iloc[0]), 1, 0, 0),
    ],
    ids=["same", "other order", "within", "moved", "score", "gone", "new", "class", "below threshold", "mask"],
)
def test_what_changed_is_counted_by_hand(other: pd.DataFrame, same: int, gone: int, exact: int) -> None:
    counted = changed(table(ONE, TWO), other, 0.5)
    assert (counted["same"], counted["gone"], counted["exact"]) == (same, gone, exact)


@pytest.fixture(scope="module")
def phantom_slices() -> list[Image]:
    """Slices of one simulated patient, preprocessed for the detector at 1.25 mm."""
    spec = PhantomCohort(patients=2, prevalence=1.0, misregistered=0, lacking_slices=0)
    drawn = draw_examination("phantom-desir", spec, 2022, 1)
    drawn = replace(drawn, protocol=replace(drawn.protocol, slices=2, matrix=160))
    pixels = render(drawn).pixels
    numbers = Preprocessing(pixel_mm=1.25, arithmetic="fast")
    mm = (drawn.protocol.fov / pixels["T1"].shape[1], drawn.protocol.fov / pixels["T1"].shape[2])
    made = []
    for place in range(2):
        pair = [preprocess_slice(pixels[name][place].astype(np.float32), mm, numbers) for name in ("T1", "STIR")]
        made.append((drawn.patient, place, torch.from_numpy(np.stack(pair))))
    return made


def test_packing_the_papers_network_changes_no_detection_on_phantom_slices(phantom_slices: list[Image]) -> None:
    config = case.CONFIG.model_copy(update={"min_size": 0})
    model = build_network(config)
    assert isinstance(model, MaskRCNN)
    shapes = {name: tuple(value.shape) for name, value in to_detectron2(model).items()}
    load_weights(model, case.generated_weights(shapes), "generated")
    plain, fast = (predict(network, phantom_slices, config) for network in (model, packed(model)))
    counted = changed(plain, fast, config.score_threshold)
    assert counted["detections"] > 10 and counted["exact"], counted


def test_packing_a_trained_network_changes_no_detection_and_fewer_proposals_are_told_apart(
    synthetic_cohort: tuple[Path, Path], tmp_path: Path
) -> None:
    config = load_study("smoke", detector__iterations=60, detector__validate_every=60).detector
    config = config.model_copy(update={"anchor_sizes": (24,), "test_proposals": 3, "test_candidates": 5})
    train, held_out = (
        DetectionData.load(*synthetic_cohort, config.channels, names)
        for names in (["p000", "p001", "p002", "p003"], ["p004", "p005"])
    )
    train_detector(config, train, held_out, seed=0, folder=tmp_path, progress=False)
    found = detections_by_way(tmp_path / "model.pt", config, held_out)
    assert list(found) == [way.name for way in ways(config)] and len(found) == 5
    counts = [changed(found["everything computed"], other, 0.2) for other in found.values()]
    assert counts[0]["detections"] > 0 and counts[0]["exact"] and counts[1]["exact"]
    assert not counts[3]["exact"] and not counts[4]["exact"]
