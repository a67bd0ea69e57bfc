"""The split of region masks: drawn pelves with a known joint, the phantom's own truth, and real scans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage as ndi

from axspa_lib.curation.vhi.bone_split import JOINT_CODE, split_bones
from axspa_lib.study.config import PhantomCohort
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import LEFT, RIGHT, Bone
from axspa_lib.study.volume import Volume

MM = 1.0
SHAPE = (6, 128, 180)
MIDDLE = (SHAPE[2] - 1) / 2


@dataclass
class Pelvis:
    t1: Volume
    region: Volume
    bones: NDArray[np.uint8]
    lumbar: NDArray[np.bool_]


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def pelvis(contrast: float = 0.35, seed: int = 0) -> Pelvis:
    """Sacrum between two ilia, joints from 58 mm (top) to 44 mm (bottom) off the midline, L5 above, marrow noise.

    The first slice shows ilia only, the second the ala, the last has L5 touching the sacrum. The joint is 4 mm wide and
    `contrast` times as bright as marrow.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]].astype(float)
    lateral = abs(columns - MIDDLE) * MM
    bones = np.zeros(SHAPE, np.uint8)
    lumbar = np.zeros(SHAPE, bool)
    t1 = np.full(SHAPE, 30.0) + rng.normal(0, 4, SHAPE)
    for z in range(SHAPE[0]):
        joint = 58 - 14 * (rows - 45) / 55 + 0.8 * z
        tall = (rows >= 45) & (rows < 100)
        wing = (rows >= 30) & (rows < 100) & (lateral < joint + 20 - 0.2 * (rows - 45))
        ilium = wing & (lateral >= joint)
        sacrum = tall & (lateral < joint) & (lateral > (0 if z > 1 else 32))
        bones[z][ilium] = Bone.ILIAC
        if z > 0:
            bones[z][sacrum] = Bone.SACRUM
            lumbar[z] = (lateral < 25) & (rows >= 15) & (rows < (45 if z == SHAPE[0] - 1 else 39))
        marrow = (bones[z] > 0) | lumbar[z]
        t1[z][marrow] = 100 + ndi.gaussian_filter(rng.normal(0, 25, SHAPE[1:]), 1.5)[marrow]
        if z > 0:
            t1[z][marrow & (abs(lateral - joint) < 2) & tall] *= contrast
        if z == SHAPE[0] - 1:
            t1[z][(abs(rows - 45) < 2) & (lateral < 25)] *= 0.3  # the disc
        edge = marrow & ~ndi.binary_erosion(marrow, iterations=2)
        t1[z][edge] *= 0.5  # cortical bone
    affine = np.diag([4.0, MM, MM, 1.0])
    region = ((bones > 0) | lumbar).astype(np.uint16)
    return Pelvis(Volume(t1.astype(np.float32), affine), Volume(region, affine), bones, lumbar)


@pytest.fixture(scope="module")
def drawn() -> Pelvis:
    return pelvis()


def test_bones_are_those_that_were_drawn(drawn: Pelvis) -> None:
    split = split_bones(drawn.t1, drawn.region)
    assert split.bones.array.dtype == np.uint8
    for bone in (Bone.SACRUM, Bone.ILIAC):
        assert dice(split.bones.array == bone, drawn.bones == bone) > 0.97
    assert (split.bones.array[drawn.lumbar] != Bone.BACKGROUND).mean() < 0.03
    assert not (split.bones.array[drawn.region.array == 0]).any()
    assert split.trusted["trusted"].all()


def test_the_line_lies_in_the_joint_on_the_patient_s_sides(drawn: Pelvis) -> None:
    split = split_bones(drawn.t1, drawn.region)
    for side, code in JOINT_CODE.items():
        z, row, column = np.nonzero(split.joint.array == code)
        assert ((column < MIDDLE) if side == RIGHT else (column > MIDDLE)).all()
        inside = (row > 48) & (row < 96)
        joint = 58 - 14 * (row - 45) / 55 + 0.8 * z
        assert np.median(abs(abs(column - MIDDLE) - joint)[inside]) < 1.5
    assert set(split.trusted.loc[split.trusted["joint_mm"] > 0, "slice"]) == {1, 2, 3, 4, 5}
    assert (split.trusted.loc[split.trusted["slice"] == 0, "joint_mm"] == 0).all()


def test_mirroring_the_patient_mirrors_the_split(drawn: Pelvis) -> None:
    split = split_bones(drawn.t1, drawn.region)
    mirror = split_bones(
        Volume(drawn.t1.array[:, :, ::-1].copy(), drawn.t1.affine),
        Volume(drawn.region.array[:, :, ::-1].copy(), drawn.t1.affine),
    )
    assert (mirror.bones.array[:, :, ::-1] != split.bones.array).mean() < 0.002
    swapped = mirror.trusted.assign(side=mirror.trusted["side"].map({LEFT: RIGHT, RIGHT: LEFT}))
    both = split.trusted.merge(swapped, on=["slice", "side"], suffixes=("", "_mirror"))
    assert (both["trusted"] == both["trusted_mirror"]).all()


def test_a_joint_that_cannot_be_seen_is_not_trusted() -> None:
    fused = pelvis(contrast=1.0)
    table = split_bones(fused.t1, fused.region).trusted
    joints = table[table["joint_mm"] > 0]
    assert (~joints["trusted"]).mean() > 0.8
    assert joints.loc[~joints["trusted"], "reason"].str.contains("darker").any()


def test_a_scale_of_grey_values_does_not_matter(drawn: Pelvis) -> None:
    scaled = Volume((drawn.t1.array * 7.5).astype(np.float32), drawn.t1.affine)
    first, second = split_bones(drawn.t1, drawn.region), split_bones(scaled, drawn.region)
    np.testing.assert_array_equal(first.bones.array, second.bones.array)


def test_a_region_without_pelvis_or_on_another_grid_is_refused(drawn: Pelvis) -> None:
    with pytest.raises(DataError, match="sacrum and both ilia"):
        split_bones(drawn.t1, Volume(drawn.lumbar.astype(np.uint8), drawn.t1.affine))
    with pytest.raises(DataError, match="sacrum and both ilia"):
        split_bones(drawn.t1, Volume(np.zeros(SHAPE, np.uint8), drawn.t1.affine))
    with pytest.raises(DataError, match="another grid"):
        split_bones(drawn.t1, Volume(drawn.region.array[1:], drawn.t1.affine))


@pytest.mark.slow
def test_the_phantom_s_bones_are_found_from_their_union() -> None:
    """The phantom knows its bones and joints, and was written by others than the split.

    Every line is right, and few are doubted: those through a cleft whose ligaments hold fat as bright as marrow.
    """
    from axspa_lib.phantom import examination

    trusted = []
    for number in range(1, 9):
        exam = examination.draw_examination("phantom-desir", PhantomCohort(patients=20), 2022, number)
        images = examination.render(exam)
        affine = images.geometry["T1"].affine(exam.protocol, *images.corner["T1"])
        union = (images.bones > 0) | (images.joint > 0)
        region = np.stack([ndi.binary_closing(np.pad(plane, 4), iterations=2)[4:-4, 4:-4] for plane in union])
        t1 = Volume(np.asarray(images.pixels["T1"], np.float32), affine)
        split = split_bones(t1, Volume(region.astype(np.uint8), affine))
        for bone in (Bone.SACRUM, Bone.ILIAC):
            assert dice(split.bones.array == bone, images.bones == bone) > 0.95, f"patient {number}"
        trusted.append(split.trusted["trusted"].mean())
    assert np.mean(trusted) > 0.9


@pytest.mark.real
def test_a_real_scan_splits_as_anatomy_says(real_data: Path) -> None:
    from axspa_lib.curation.vhi.source import VhiSource

    source = VhiSource(real_data / "vhi")
    if "1012post" not in source.patients():
        pytest.skip("1012post of the collection is not downloaded")
    split = source.split("1012post")
    joints = split.trusted[split.trusted["joint_mm"] > 0]
    assert split.trusted["trusted"].all() and 11 <= joints["slice"].nunique() <= 18
    assert 30 < joints["joint_mm"].median() < 85
    _, _, column = np.nonzero(split.joint.array == JOINT_CODE[RIGHT])
    _, _, other = np.nonzero(split.joint.array == JOINT_CODE[LEFT])
    apart = (np.median(other) - np.median(column)) * split.joint.spacing[2]
    assert 80 < apart < 125  # 107 mm in the middle of the joints of these scans, 80 to 120 along them
    volumes = {bone: (split.bones.array == bone).sum() * np.prod(split.bones.spacing) / 1000 for bone in Bone}
    assert 100 < volumes[Bone.SACRUM] < 260 and 80 < volumes[Bone.ILIAC] < 260  # cm^3 within the slab
