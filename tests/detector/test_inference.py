"""Detections as tables: sides, thresholds, sizes, bytes and masks; and resizing and pasting against Pillow and hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from axspa_lib.detector.inference import COLUMNS, decode_mask, predict, read_predictions, write_predictions
from axspa_lib.detector.network.interface import Detections, DetectorNetwork
from axspa_lib.detector.network.model import build_detector
from axspa_lib.detector.network.resize import fed_size, paste
from axspa_lib.study.config import Detector, load_study
from axspa_lib.study.errors import DataError


class Fixed(DetectorNetwork):
    """Finds the same two joints in every slice, at fixed fractions of the fed image."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def detect(self, images: list[torch.Tensor], floor: float | None = None) -> list[Detections]:
        self.seen += images
        found = []
        for image in images:
            rows, columns = image.shape[-2:]
            boxes = torch.tensor([[0.1, 0.2, 0.3, 0.6], [0.6, 0.2, 0.9, 0.6]])
            boxes = boxes * torch.tensor([columns, rows] * 2)
            found.append(
                Detections(boxes, torch.tensor([0.9, 0.6]), torch.tensor([1, 0]),
                           torch.tensor([[0.05, 0.9], [0.6, 0.3]]), torch.ones(2, 28, 28))
            )  # fmt: skip
        return found


def slices(count: int = 3, rows: int = 40, columns: int = 60) -> list[tuple[str, int, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        ("p", i, torch.randint(0, 256, (2, rows, columns), generator=generator, dtype=torch.uint8))
        for i in range(count)
    ]


@pytest.mark.parametrize(("min_size", "batch"), [(0, 1), (80, 2), (20, 3)])
def test_boxes_masks_and_sides_come_back_in_the_slices_own_pixels(min_size: int, batch: int) -> None:
    table = predict(Fixed(), slices(), Detector(min_size=min_size), batch_size=batch)
    assert list(table) == list(COLUMNS) and len(table) == 6
    first, second = table.iloc[0], table.iloc[1]
    np.testing.assert_allclose(first[["x0", "y0", "x1", "y1"]].astype(float), [6, 8, 18, 24], atol=1e-4)
    assert (first["side"], second["side"]) == ("R", "L")  # image left is patient right
    assert (first["label"], second["label"]) == (1, 0)
    assert first["p_inflamed"] == pytest.approx(0.9) and second["p_healthy"] == pytest.approx(0.6)
    mask = decode_mask(first)
    assert mask.shape == (40, 60) and mask[8:24, 6:18].all() and mask.sum() == 16 * 12
    assert table["slice"].tolist() == [0, 0, 1, 1, 2, 2]


def test_the_network_is_fed_the_channels_in_order_at_the_fed_size() -> None:
    model, images = Fixed(), slices(1)
    predict(model, images, Detector(min_size=0, channels="STIR,STIR,T1"))
    assert torch.equal(model.seen[0], images[0][2][[1, 1, 0]])
    predict(model, images, Detector(min_size=80))
    assert model.seen[1].shape == (3, 80, 120)


def test_no_detection_and_no_slice_give_an_empty_table_with_types(tmp_path: Path) -> None:
    table = predict(Fixed(), [], Detector())
    assert len(table) == 0 and list(table) == list(COLUMNS)
    write_predictions(tmp_path / "empty.parquet", table)
    assert list(read_predictions(tmp_path / "empty.parquet")) == list(COLUMNS)


def test_the_same_weights_and_slices_give_the_same_file_whatever_the_batch(tmp_path: Path) -> None:
    config = load_study("smoke", detector__width=16, detector__precision="float32").detector
    for name in ("a", "b"):
        torch.manual_seed(4)
        model = build_detector(config)
        write_predictions(tmp_path / f"{name}.parquet", predict(model, iter(slices()), config))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    one, many = (predict(model, slices(), config, batch_size=n) for n in (1, 3))
    assert len(one) > 0
    pd.testing.assert_frame_equal(one.drop(columns="mask_rle"), many.drop(columns="mask_rle"), atol=1e-3)
    assert one["score"].min() >= config.store_threshold


def test_values_that_are_not_finite_are_refused_by_patient_and_slice() -> None:
    class Broken(Fixed):
        def detect(self, images: list[torch.Tensor], floor: float | None = None) -> list[Detections]:
            return [dataclasses.replace(d, scores=d.scores * torch.nan) for d in super().detect(images, floor)]

    with pytest.raises(DataError, match="patient p, slice 0: the detector gave values that are not finite"):
        predict(Broken(), slices(1), Detector(min_size=0))


def test_a_table_survives_the_file_and_a_wrong_file_is_refused(tmp_path: Path) -> None:
    table = predict(Fixed(), slices(), Detector(min_size=0))
    write_predictions(tmp_path / "p.parquet", table)
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "p.parquet"), table, check_dtype=False)
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(DataError, match=r"text\.parquet: not a readable table"):
        read_predictions(tmp_path / "text.parquet")
    with pytest.raises(DataError, match="not a readable table"):
        read_predictions(tmp_path / "absent.parquet")
    table.drop(columns="p_healthy").to_parquet(tmp_path / "old.parquet")
    with pytest.raises(DataError, match="lacks the column 'p_healthy'"):
        read_predictions(tmp_path / "old.parquet")


def test_shortest_edge_sizes_are_those_of_the_paper() -> None:
    assert fed_size(500, 500, 800, 1333) == (800, 800)
    assert fed_size(512, 384, 800, 1333) == (1067, 800)
    assert fed_size(100, 400, 800, 1333) == (333, 1333)


def test_a_mask_is_pasted_where_its_box_lies_and_cut_at_the_border() -> None:
    ramp = torch.linspace(0, 1, 28).expand(28, 28)
    inside = paste(ramp, torch.tensor([10.0, 5.0, 30.0, 15.0]), (20, 40))
    assert inside[5:15, 21:30].all() and not inside[:, :20].any() and not inside[:5].any() and not inside[15:].any()
    beyond = paste(torch.ones(28, 28), torch.tensor([30.0, -5.0, 60.0, 10.0]), (20, 40))
    assert beyond[:10, 30:].all() and beyond.sum() == 100
    assert not paste(torch.ones(28, 28), torch.tensor([3.0, 3.0, 3.0, 9.0]), (20, 40)).any()
