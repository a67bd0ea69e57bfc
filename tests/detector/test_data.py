"""Slices and instances in memory: round trip, order of channels, and what is left out and counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from axspa_lib.detector.data import DetectionData, images_of, three_channels
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume, read_volume, write_volume

CHANNELS = "T1,STIR,STIR"


@pytest.fixture
def cohort(synthetic_cohort: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path, dict[str, Any]]:
    """A copy that a test may damage, and its parsed JSON."""
    shutil.copytree(synthetic_cohort[0], tmp_path / "c")
    path = tmp_path / "c" / "instances.json"
    return tmp_path / "c", path, json.loads(path.read_text())


def test_every_slice_and_mask_is_what_was_written(synthetic_cohort: tuple[Path, Path]) -> None:
    data = DetectionData.load(*synthetic_cohort, CHANNELS)
    content = json.loads(synthetic_cohort[1].read_text())
    assert len(data) == len(content["images"]) == 18 and data.skipped == {}
    assert sum(len(s.instances) for s in data.slices) == len(content["annotations"])
    first = data.slices[0]
    volume = read_volume(synthetic_cohort[0] / f"{first.patient}_STIR.nii.gz")
    assert first.image.dtype == torch.uint8
    np.testing.assert_array_equal(first.image[1].numpy(), volume.array[first.index])
    expected = coco_mask.decode(content["annotations"][0]["segmentation"])
    np.testing.assert_array_equal(first.instances[0].mask(), expected.astype(bool))
    assert first.instances[0].side == "R" and first.spacing == (1.25, 1.25)


def test_patients_are_chosen_and_an_unknown_one_is_counted(synthetic_cohort: tuple[Path, Path]) -> None:
    data = DetectionData.load(*synthetic_cohort, CHANNELS, ["p001", "p004", "nobody"])
    assert data.patients == ["p001", "p004"]
    assert data.skipped == {"patient without instances": 1}


def test_channels_come_in_the_configured_order() -> None:
    image = torch.stack([torch.full((2, 2), 1), torch.full((2, 2), 2)])
    assert three_channels(image, "T1,STIR,STIR")[:, 0, 0].tolist() == [1, 2, 2]
    assert three_channels(image, "STIR,STIR,T1")[:, 0, 0].tolist() == [2, 2, 1]


@pytest.mark.parametrize(
    ("damage", "reason", "slices", "instances"),
    [
        (lambda a: a.update(category_id=7), "slice with an instance without class or side", 17, 34),
        (lambda a: a.update(category_id=None), "slice with an instance without class or side", 17, 34),
        (lambda a: a.pop("side"), "slice with an instance without class or side", 17, 34),
        (lambda a: a.update(iscrowd=1), "instance marked as crowd", 18, 35),
        (lambda a: a.update(segmentation=_one_pixel()), "instance of fewer than 4 pixels", 18, 35),
        (lambda a: a.update(segmentation=_no_pixel()), "instance of fewer than 4 pixels", 18, 35),
        (lambda a: a["segmentation"].update(size=[5, 5]), "instance whose mask does not fit the slice", 18, 35),
        (lambda a: a.update(segmentation=[[1, 2, 3, 4]]), "instance whose mask does not fit the slice", 18, 35),
    ],
)
def test_bad_instances_are_left_out_with_a_reason(
    cohort: tuple[Path, Path, dict[str, Any]], damage: Any, reason: str, slices: int, instances: int
) -> None:
    folder, path, content = cohort
    damage(content["annotations"][0])
    path.write_text(json.dumps(content))
    data = DetectionData.load(folder, path, CHANNELS)
    assert data.skipped == {reason: 1}
    assert (len(data), sum(len(s.instances) for s in data.slices)) == (slices, instances)


def _no_pixel() -> dict[str, Any]:
    """What is left of an instance that lies outside the slice."""
    rle = coco_mask.encode(np.zeros((96, 96), np.uint8, order="F"))
    return {"size": [96, 96], "counts": rle["counts"].decode()}


def _one_pixel() -> dict[str, Any]:
    mask = np.zeros((96, 96), np.uint8, order="F")
    mask[40, 40] = 1
    rle = coco_mask.encode(mask)
    return {"size": [96, 96], "counts": rle["counts"].decode()}


def test_a_slice_outside_the_volume_or_of_another_size_is_left_out(cohort: tuple[Path, Path, dict[str, Any]]) -> None:
    folder, path, content = cohort
    content["images"][0]["slice"] = 99
    content["images"][1]["height"] = 80
    path.write_text(json.dumps(content))
    data = DetectionData.load(folder, path, CHANNELS)
    assert len(data) == 16
    assert data.skipped == {"slice of another size than its instances": 1, "slice outside the volume": 1}


def test_one_bad_patient_does_not_stop_the_cohort(cohort: tuple[Path, Path, dict[str, Any]]) -> None:
    folder, path, _ = cohort
    volume = read_volume(folder / "p000_T1.nii.gz")
    values = volume.array.astype(np.float32)
    values[0, 0, 0] = np.nan
    write_volume(folder / "p000_T1.nii.gz", Volume(values, volume.affine))
    (folder / "p001_STIR.nii.gz").write_bytes(b"no image")
    data = DetectionData.load(folder, path, CHANNELS)
    assert data.patients == ["p002", "p003", "p004", "p005"]
    assert sum(data.skipped.values()) == 6
    assert any("uint8" in reason for reason in data.skipped)


def test_without_a_usable_slice_it_says_why(cohort: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, path, _ = cohort
    with pytest.raises(DataError, match="run the joint extraction again"):
        DetectionData.load(folder, path, CHANNELS, ["nobody"])
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(DataError, match=r"bad\.json: not a COCO"):
        DetectionData.load(folder, tmp_path / "bad.json", CHANNELS)


def test_a_pair_of_volumes_without_instances_gives_its_slices() -> None:
    affine = np.diag([4.0, 1.0, 1.0, 1.0])
    t1 = Volume(np.full((3, 8, 9), 5, np.uint8), affine)
    images = images_of(t1, Volume(np.full((3, 8, 9), 7, np.uint8), affine), "me")
    assert [(p, i, tuple(x.shape)) for p, i, x in images] == [("me", i, (2, 8, 9)) for i in range(3)]
    assert images[2][2][:, 0, 0].tolist() == [5, 7]
    with pytest.raises(DataError, match="differ in shape"):
        images_of(t1, Volume(np.zeros((3, 8, 8), np.uint8), affine))
    with pytest.raises(DataError, match="uint8"):
        images_of(t1, Volume(np.zeros((3, 8, 9), np.float32), affine))
