"""Areas of inflammation: the published rule by hand, residues, overlaps, and the published figures on real drawings."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from axspa_lib.curation.nifti import read_image, read_mask
from axspa_lib.curation.vhi.source import READERS, VhiSource
from axspa_lib.real_mri import lesions
from axspa_lib.study.config import MANIFEST
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume


def test_published_threshold_by_hand() -> None:
    # 1 to 101: quartiles 26 and 76, range 50. With 1.5 the lower threshold is 151 > 101, so the multiple falls by 0.05
    # (2.5 each) until it is below the maximum: 76 + 50 * 0.45 = 98.5 (0.5 would give 101, which is not below).
    assert lesions.published_threshold(np.arange(1, 102)) == pytest.approx(98.5)
    # A long tail: 26, 76, largest 301. 76 + 50 * 4.0 = 276 is 25 below, which is not less than half the range; 4.05 is.
    values = np.append(np.arange(1, 101), 301)
    assert lesions.published_threshold(values) == pytest.approx(278.5)


def test_a_reference_needs_marrow() -> None:
    with pytest.raises(DataError, match="too few"):
        lesions.reference_of(np.arange(19))
    with pytest.raises(DataError, match="one intensity"):
        lesions.reference_of(np.ones(50))


def test_residues_of_three_pixels_go_and_four_stay_even_by_their_corners() -> None:
    stir = np.zeros((2, 8, 8))
    stir[0, 0, 0] = stir[0, 1, 1] = stir[0, 2, 2] = stir[0, 3, 3] = 5  # four, by their corners
    stir[0, 6, 4:7] = 5  # three
    stir[1, 6, 4:7] = 5  # three more on the next slice: slices do not connect
    found = lesions.hyperintense(stir, np.ones(stir.shape, bool), 5)
    assert found.sum() == 4 and found[0, 3, 3]
    region = np.ones(stir.shape, bool)
    region[0, 3, 3] = False
    assert lesions.hyperintense(stir, region, 5).sum() == 0, "what lies outside the region does not count"


def test_overlap_by_hand() -> None:
    a, b = np.zeros((1, 4, 4), bool), np.zeros((1, 4, 4), bool)
    a[0, 0, :3], b[0, 0, 1:] = True, True
    assert lesions.overlap(a, b) == {"first": 3, "second": 3, "dice": pytest.approx(2 / 3), "similarity": 1.0}
    assert np.isnan(lesions.overlap(a & ~a, b & ~b)["dice"])
    b[0, 1] = True
    assert lesions.overlap(a, b)["similarity"] == pytest.approx(1 - 4 / 10)


def test_a_tie_of_drawings_is_not_inflamed() -> None:
    on, off = np.ones((1, 2, 2), bool), np.zeros((1, 2, 2), bool)
    assert not lesions.majority({"a": on, "b": on, "c": off, "d": off}).any()
    assert lesions.majority({"a": on, "b": on, "c": on, "d": off}).all()


def test_the_multiple_that_makes_the_drawing_is_chosen() -> None:
    random = np.random.default_rng(0)
    reference = lesions.Reference(100.0, 20.0)
    cases = []
    for _ in range(3):
        stir = random.uniform(0, 300, (2, 30, 30))
        region = np.zeros(stir.shape, bool)
        region[:, 5:25, 5:25] = True
        cases.append((stir, region, reference, lesions.hyperintense(stir, region, reference.threshold(3.5))))
    assert lesions.choose_multiple(cases) == 3.5
    with pytest.raises(DataError, match="no examination"):
        lesions.choose_multiple([])


def test_normal_marrow_is_bone_far_from_the_joint_and_from_the_edge() -> None:
    bones, joint = np.zeros((2, 60, 100), np.uint8), np.zeros((2, 60, 100), np.uint8)
    bones[:, 10:50, 10:90] = 2
    joint[0, 10:50, 80:90] = 1
    volume = Volume(bones, np.diag([4.0, 1.0, 1.0, 1.0]))
    found = lesions.normal_marrow(volume, volume.like(joint))
    assert not found[1].any(), "a slice without a joint tells nothing"
    rows, columns = np.nonzero(found[0])
    assert (rows.min(), rows.max()) == (12, 47) and (columns.min(), columns.max()) == (12, 80 - 25)


@pytest.mark.parametrize("patient", ["1007pre", "1012post", "1013pre", "1016post", "1234pre", "4386post"])
def test_drawn_voxels_and_their_overlap_are_those_published(real_data: Path, patient: str) -> None:
    source = VhiSource(real_data / "vhi")
    files = source._files.get(patient, {})
    if not set(READERS) <= set(files):
        pytest.skip(f"the drawings of {patient} are not downloaded")
    t1 = read_image(files["T1"])
    drawn = {reader: read_mask(files[reader], t1).array > 0 for reader in READERS}
    counted = pd.DataFrame([(patient, name, int(mask.sum())) for name, mask in drawn.items()],
                           columns=["patient", "reading", "voxels"])  # fmt: skip
    check = lesions.published_check(counted)
    assert len(check) == 4 and check["same"].all(), check
    dice = pd.read_csv(MANIFEST / "published" / "vhi_dice.csv", dtype={"patient": str}).set_index(["patient", "pair"])
    for a, b in combinations(READERS, 2):
        assert lesions.overlap(drawn[a], drawn[b])["dice"] == pytest.approx(
            dice.loc[patient, f"{a}-{b}"].item(), abs=1e-6
        )
