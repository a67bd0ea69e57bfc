"""COCO instances: what is in them, what is left out, and that COCO's own tools read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from axspa_lib.detector.instances import MIN_PIXELS, coco, read_instances, slice_instances
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume


@pytest.fixture
def joints() -> Volume:
    rng = np.random.default_rng(0)
    array = np.zeros((6, 40, 50), np.uint8)
    for index in range(1, 5):
        for value, first in ((1, 3), (2, 28)):
            rows, columns = sorted(rng.choice(40, 2, False)), sorted(rng.choice(20, 2, False))
            array[index, rows[0] : rows[1] + 3, first + columns[0] : first + columns[1] + 3] = value
    array[3][array[3] == 2] = 0
    array[4][array[4] == 1] = 0
    array[4, 5, 5 : 5 + MIN_PIXELS - 1] = 1
    return Volume(array, np.diag([4.0, 0.5, 0.51, 1.0]))


@pytest.fixture
def consensus() -> pd.DataFrame:
    rows = [(index, side, (index + (side == "L")) % 2, 3) for index in range(1, 5) for side in "RL"]
    return pd.DataFrame(rows, columns=["slice", "side", "inflammation", "readers"])


def dataset(joints: Volume, consensus: pd.DataFrame) -> dict[str, Any]:
    parts = [slice_instances(name, joints, consensus)[:2] for name in ("a", "b")]
    return coco(parts, {"cohort": "phantom-desir", "data_id": "0123456789"})


def test_every_labelled_joint_is_an_instance_and_the_rest_is_counted(joints: Volume, consensus: pd.DataFrame) -> None:
    images, annotations, skipped = slice_instances("a", joints, consensus)
    assert [image["slice"] for image in images] == [1, 2, 3, 4]
    assert [(row["slice"], row["side"], row["reason"]) for row in skipped] == [
        (3, "L", "joint not found"),
        (4, "R", "joint of fewer than 4 pixels"),
    ]
    assert len(annotations) == 6
    assert images[0]["spacing_mm"] == [0.5, 0.51]
    for annotation in annotations:
        image = images[annotation["image_id"] - 1]
        mask = joints.array[image["slice"]] == {"R": 1, "L": 2}[annotation["side"]]
        code = annotation["segmentation"]
        assert np.array_equal(coco_mask.decode(code), mask)
        assert annotation["area"] == mask.sum()
        x, y, width, height = annotation["bbox"]
        rows, columns = np.nonzero(mask)
        assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert annotation["category_id"] == (image["slice"] + (annotation["side"] == "L")) % 2
        assert annotation["readers"] == 3


def test_a_labelled_slice_without_any_joint_keeps_its_image(joints: Volume) -> None:
    table = pd.DataFrame({"slice": [0, 0], "side": ["R", "L"], "inflammation": [0, 1]})
    images, annotations, skipped = slice_instances("a", joints, table)
    assert (len(images), len(annotations), len(skipped)) == (1, 0, 2)


def test_no_labels_no_entries(joints: Volume, consensus: pd.DataFrame) -> None:
    assert slice_instances("a", joints, consensus.iloc[:0]) == ([], [], [])


def test_coco_reads_it(joints: Volume, consensus: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(dataset(joints, consensus)))
    read = COCO(str(path))
    assert read.dataset == read_instances(path) == dataset(joints, consensus)
    assert [category["name"] for category in read.loadCats(read.getCatIds())] == ["healthy", "inflamed"]
    assert sorted(read.imgs) == list(range(1, 9))
    assert sorted(read.anns) == list(range(1, 13))
    for annotation in read.anns.values():
        assert read.annToMask(annotation).sum() == annotation["area"]
    names = {read.imgs[a["image_id"]]["patient"] for a in read.anns.values() if a["id"] > 6}
    assert names == {"b"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"slice": 6}, "half-slice 6"),
        ({"side": "X"}, "X"),
        ({"inflammation": 2}, "label 2"),
        ({"side": "L"}, "each half-slice once"),
    ],
)
def test_labels_that_cannot_be_used_name_the_patient(
    joints: Volume, consensus: pd.DataFrame, change: dict[str, object], words: str
) -> None:
    table = consensus.astype({"side": object})
    for column, value in change.items():
        table.loc[0, column] = value
    with pytest.raises(DataError, match=f"patient a: .*{words}"):
        slice_instances("a", joints, table)
    with pytest.raises(DataError, match="lacks the columns side"):
        slice_instances("a", joints, consensus.drop(columns="side"))


def test_broken_files_are_refused_in_words(joints: Volume, consensus: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    with pytest.raises(DataError, match="cannot be read"):
        read_instances(path)
    path.write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        read_instances(path)
    path.write_text("[]")
    with pytest.raises(DataError, match="not a COCO dataset"):
        read_instances(path)
    for change, words in (
        (lambda d: d["images"][0].pop("patient"), "image 1 is incomplete"),
        (lambda d: d["images"][1].update(id=1), "image 1 is incomplete or appears twice"),
        (lambda d: d["annotations"][0].pop("side"), "annotation 1 is incomplete"),
        (lambda d: d["annotations"][0].update(image_id=99), "belongs to no image"),
        (lambda d: d["annotations"][1].update(id=1), "appears twice"),
        (lambda d: d["annotations"][0].update(category_id=2), "unknown class"),
        (lambda d: d["annotations"][0]["segmentation"].update(size=[1, 1]), "another size"),
    ):
        broken = dataset(joints, consensus)
        change(broken)
        path.write_text(json.dumps(broken))
        with pytest.raises(DataError, match=words):
            read_instances(path)
