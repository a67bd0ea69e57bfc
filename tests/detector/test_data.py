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

from axspa_lib.detector.data import DetectionData, three_channels
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
    assert first.instances[0].side == "R"


def test_patients_are_chosen_and_an_unknown_one_is_counted(synthetic_cohort: tuple[Path, Path]) -> None:
    data = DetectionData.load(*synthetic_cohort, CHANNELS, ["p001", "p004", "nobody"])
    assert data.patients == ["p001", "p004"]
    assert data.skipped == {"patient without instances": 1}


def test_channels_come_in_the_configured_order() -> None:
    image = torch.stack([torch.full((2, 2), 1), torch.full((2, 2), 2)])
    assert three_channels(image, "T1,STIR,STIR")[:, 0, 0].tolist() == [1, 2, 2]
    assert three_channels(image, "STIR,STIR,T1")[:, 0, 0].tolist() == [2, 2, 1]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda a: a.update(category_id=7), "annotation 0 has an unknown class"),
        (lambda a: a.update(category_id=None), "annotation 0 has an unknown class"),
        (lambda a: a.pop("side"), "annotation 0 is incomplete"),
        (lambda a: a["segmentation"].update(size=[5, 5]), "annotation 0 has a mask of another size"),
        (lambda a: a.update(segmentation=[[1, 2, 3, 4]]), "annotation 0 has a mask of another size"),
    ],
)
def test_bad_instances_are_refused_by_name(cohort: tuple[Path, Path, dict[str, Any]], damage: Any, words: str) -> None:
    folder, path, content = cohort
    damage(content["annotations"][0])
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=words):
        DetectionData.load(folder, path, CHANNELS)


@pytest.mark.parametrize("change", [{"slice": 99}, {"slice": -1}, {"height": 80}])
def test_a_slice_outside_the_volume_or_of_another_size_is_refused(
    cohort: tuple[Path, Path, dict[str, Any]], change: dict[str, int]
) -> None:
    folder, path, content = cohort
    content["images"][0].update(change)
    content["annotations"] = content["annotations"][2:]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"patient p000, slice .* run the preprocessing again"):
        DetectionData.load(folder, path, CHANNELS)


def test_a_damaged_volume_is_refused_by_patient(cohort: tuple[Path, Path, dict[str, Any]]) -> None:
    folder, path, _ = cohort
    volume = read_volume(folder / "p000_T1.nii.gz")
    write_volume(folder / "p000_T1.nii.gz", Volume(volume.array.astype(np.float32), volume.affine))
    with pytest.raises(DataError, match=r"patient p000: .*float32"):
        DetectionData.load(folder, path, CHANNELS)
    write_volume(folder / "p000_T1.nii.gz", Volume(volume.array[:, 1:], volume.affine))
    with pytest.raises(DataError, match=r"patient p000: .*uint8 of one shape"):
        DetectionData.load(folder, path, CHANNELS)
    (folder / "p000_T1.nii.gz").write_bytes(b"no image")
    with pytest.raises(DataError, match="p000_T1"):
        DetectionData.load(folder, path, CHANNELS)


def test_without_a_usable_slice_it_says_why(cohort: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, path, _ = cohort
    with pytest.raises(DataError, match="run the joint extraction again"):
        DetectionData.load(folder, path, CHANNELS, ["nobody"])
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(DataError, match=r"bad\.json: is not a COCO"):
        DetectionData.load(folder, tmp_path / "bad.json", CHANNELS)
