"""Algorithm 1 against its direct transcription, by hand, and where a slice lacks something."""

from __future__ import annotations

from dataclasses import fields
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import morphology as skimage_morphology

from axspa_lib.joint import morphology
from axspa_lib.joint.algorithm1 import SIDE_VALUE, extract_joint, extract_joints, trace_joint
from axspa_lib.joint.figures import algorithm_steps, joints_over_volume
from axspa_lib.phantom.drawing.texture import Grid
from axspa_lib.phantom.examination import draw_examination
from axspa_lib.phantom.scene import Scene
from axspa_lib.study.config import Joint, load_study
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume
from tests.bench.images import bone_mask
from tests.oracles.joint import reference_joint


def blobs(rows: int, columns: int, seed: int, smooth: float) -> np.ndarray:
    """Random bones: several components, specks, holes, touching every edge."""
    rng = np.random.default_rng(seed)
    first, second = (ndimage.gaussian_filter(rng.normal(size=(rows, columns)), s) for s in (smooth, 3))
    bones = np.where(first > first.std() * rng.uniform(-0.5, 1), 2, 0)
    bones[second > second.std() * 0.7] = 1
    return bones.astype(np.uint8)


@pytest.mark.parametrize("size", [128, 256])
@pytest.mark.parametrize("seed", range(3))
def test_identical_to_the_transcription_on_bones(size: int, seed: int) -> None:
    bones = bone_mask(size, seed)
    assert np.array_equal(extract_joint(bones, Joint()), reference_joint(bones, Joint()))
    assert set(np.unique(extract_joint(bones, Joint()))) == {0, 1, 2}


@settings(deadline=None, max_examples=120)
@given(
    rows=st.integers(12, 70),
    columns=st.integers(12, 80),
    seed=st.integers(0, 100_000),
    smooth=st.floats(0.4, 6),
    dilation=st.integers(1, 16),
    closing=st.integers(1, 14),
    wing=st.floats(0, 1),
)
def test_identical_to_the_transcription_on_anything(
    rows: int, columns: int, seed: int, smooth: float, dilation: int, closing: int, wing: float
) -> None:
    bones = blobs(rows, columns, seed, smooth)
    params = Joint(dilation_radius=dilation, closing_radius=closing, wing_fraction=wing, contact_fraction=0.05)
    assert np.array_equal(extract_joint(bones, params), reference_joint(bones, params))


@settings(deadline=None, max_examples=60)
@given(rows=st.integers(30, 60), columns=st.integers(30, 60), seed=st.integers(0, 10_000), radius=st.integers(0, 30))
def test_disks_equal_scikit_image(rows: int, columns: int, seed: int, radius: int) -> None:
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.normal(size=(rows, columns)), rng.uniform(0, 4)) > 0
    disk = skimage_morphology.disk(radius)
    assert np.array_equal(morphology.dilate(mask, radius), skimage_morphology.dilation(mask, disk))
    inscribed = morphology.distance(mask)
    if radius < inscribed.max() < np.inf:
        opened = morphology.open_by_distance(inscribed, radius)
        assert np.array_equal(opened, skimage_morphology.opening(mask, disk))
    assert np.array_equal(morphology.close(mask, radius), skimage_morphology.closing(mask, disk))
    assert np.array_equal(morphology.fill_holes(mask), ndimage.binary_fill_holes(mask))
    found = [(piece.box, piece.mask) for piece in morphology.pieces(mask)]
    boxes = sorted((box[0].start, box[1].start, int(part.sum())) for box, part in found)
    regions = skimage_morphology.label(mask)
    places = ndimage.find_objects(regions)
    assert boxes == sorted((b[0].start, b[1].start, int((regions == n).sum())) for n, b in enumerate(places, 1))


def square_bones() -> np.ndarray:
    """Sacrum 40 wide in the middle of 100 x 120; an iliac 20 wide at either side, 2 pixels away."""
    bones = np.zeros((100, 120), np.uint8)
    bones[30:70, 40:80] = 1
    bones[30:70, 18:38] = 2
    bones[30:70, 82:102] = 2
    return bones


def test_by_hand() -> None:
    params = Joint(contact_fraction=0.03, horizontal_fraction=0.1, dilation_radius=3, closing_radius=1, wing_fraction=0)
    trace = trace_joint(square_bones(), params)
    assert np.array_equal(trace.contact, trace.iliac)
    assert trace.trimmed.sum() == 2 * 39 * 20  # the first row of each ilium goes with the wings
    assert trace.dilated[:, 60].sum() == 0
    rows, columns = np.nonzero(trace.extended[:, :60])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (28, 72, 15, 40 + 12)
    joint = trace.joint
    assert joint[50, 52] == 1 == joint[50, 16]  # into the sacrum as far as D_H goes, out over the ilium as far as D
    assert joint[50, 53] == 0 == joint[50, 14]
    assert joint[29, 45] == 0  # beside the bones nothing but the dilation
    assert np.array_equal(joint == 2, np.fliplr(joint == 1))


def test_wings_are_left_out() -> None:
    bones = square_bones()
    bones[5:30, 18:22] = 2
    params = Joint(contact_fraction=0.03)
    trace = trace_joint(bones, params)
    assert trace.contact[10, 20]
    assert not trace.trimmed[:30].any()
    assert trace.joint[5:20].sum() == 0
    assert trace_joint(bones, params.model_copy(update={"wing_fraction": 0.0})).trimmed[10, 20]


def test_contact_is_needed() -> None:
    bones = square_bones()
    near = extract_joint(bones, Joint(contact_fraction=0.03))
    assert set(np.unique(near)) == {0, 1, 2}
    assert not extract_joint(bones, Joint(contact_fraction=0.02)).any()


def test_one_side_only() -> None:
    bones = square_bones()
    whole = extract_joint(bones, Joint(contact_fraction=0.03))
    for columns, kept in ((slice(0, 60), 2), (slice(60, 120), 1)):
        half = bones.copy()
        half[:, columns][half[:, columns] == 2] = 0
        assert np.array_equal(extract_joint(half, Joint(contact_fraction=0.03)), np.where(whole == kept, kept, 0))


@pytest.mark.parametrize("value", [0, 1, 2])
def test_slices_without_a_bone_have_no_joint(value: int) -> None:
    trace = trace_joint(np.full((40, 50), value, np.uint8), Joint())
    for field in fields(trace):
        step = getattr(trace, field.name)
        assert step.shape == (40, 50)
        assert step.any() == ((field.name, value) in {("iliac", 2), ("sacrum", 1)})


def test_bones_at_the_border() -> None:
    bones = np.zeros((30, 60), np.uint8)
    bones[:, 20:40], bones[:, :20], bones[:, 40:] = 1, 2, 2
    params = Joint(contact_fraction=0.05)
    joint = extract_joint(bones, params)
    assert np.array_equal(joint, reference_joint(bones, params))
    assert joint[-1, 0] == 1
    assert joint[-1, -1] == 2


def test_the_largest_region_of_a_side_is_kept() -> None:
    bones = square_bones()
    bones[85:90, 41:80] = 1
    bones[85:90, 36:40] = 2
    joint = extract_joint(bones, Joint(contact_fraction=0.03, dilation_radius=2, closing_radius=1))
    assert not joint[84:].any()
    assert joint[50, 30] == 1


def test_literal_horizontal_dilation_lies_in_the_box() -> None:
    for seed in range(4):
        bones = bone_mask(128, seed)
        box, line = (trace_joint(bones, Joint(horizontal=kind)) for kind in ("box", "line"))
        assert not (line.extended & ~box.extended).any()
        assert (line.extended >= line.dilated).all()
        assert line.extended.sum() < box.extended.sum()


def test_radii_in_millimetres() -> None:
    bones = bone_mask(256)
    params = Joint(reference_pixel_mm=1.0)
    twice = extract_joint(bones, params, pixel_mm=0.5)
    assert np.array_equal(twice, extract_joint(bones, Joint(dilation_radius=14, closing_radius=10)))
    with pytest.raises(DataError, match="pixel size"):
        extract_joint(bones, params)


def test_volume_keeps_its_grid() -> None:
    bones = Volume(np.stack([np.zeros((128, 128), np.uint8), bone_mask(128)]), np.diag([4.0, 1.0, 1.0, 1.0]))
    joints = extract_joints(bones, Joint())
    assert joints.array.dtype == np.uint8
    assert not joints.array[0].any()
    assert np.array_equal(joints.array[1], extract_joint(bones.array[1], Joint()))
    assert joints.affine is bones.affine
    assert SIDE_VALUE == {"R": 1, "L": 2}


@pytest.mark.parametrize(
    ("bones", "words"),
    [
        (np.zeros((2, 3, 4), np.uint8), "not a slice"),
        (np.zeros((0, 4), np.uint8), "not a slice"),
        (np.zeros((4, 4)), "integers"),
        (np.full((4, 4), 3), "from 3 to 3"),
        (np.full((4, 4), -1), "from -1 to -1"),
    ],
)
def test_what_is_no_bone_mask_is_refused_in_words(bones: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        extract_joint(bones, Joint())


def test_a_slice_is_no_volume() -> None:
    with pytest.raises(DataError, match="not a volume"):
        extract_joints(Volume(np.zeros((4, 4), np.uint8), np.eye(4)), Joint())


def test_non_contiguous_masks() -> None:
    bones = np.asfortranarray(bone_mask(128))
    assert np.array_equal(extract_joint(bones[::-1, ::-1], Joint()), reference_joint(bones[::-1, ::-1], Joint()))


def test_figures_can_be_drawn() -> None:
    bones = Volume(np.stack([np.zeros((128, 128), np.uint8), bone_mask(128)]), np.diag([4.0, 1.0, 1.5, 1.0]))
    for mask in bones.array:
        figure = algorithm_steps(mask.astype(float), trace_joint(mask, Joint()), (1.0, 1.5))
        assert len(figure.axes) == 8
        figure.savefig(BytesIO())
    sheet = joints_over_volume(bones, extract_joints(bones, Joint()), bones, columns=3, title="two slices")
    assert [text.get_text() for text in sheet.axes[0].texts] == ["no R or L"]
    assert not sheet.axes[1].texts
    sheet.savefig(BytesIO())


@pytest.mark.slow
def test_identical_on_five_hundred_phantom_slices() -> None:
    """The true bones of the simulated patients of profile quick, at the matrix of each patient's own scanner."""
    study, slices, matrices, found = load_study("quick"), 0, set(), 0
    spec = study.phantoms["phantom-desir"]
    for number in range(1, spec.patients + 1):
        patient = draw_examination("phantom-desir", spec, study.seed, number)
        scan = patient.protocol
        grid = Grid(scan.matrix, scan.pixel, *(middle - scan.fov / 2 for middle in scan.centre_xy))
        for bones in Scene(patient.body, patient.lesions).truth(grid, scan.depths())[0]:
            joint = extract_joint(bones, Joint())
            assert np.array_equal(joint, reference_joint(bones, Joint())), f"patient {number}"
            slices, found = slices + bool(bones.any()), found + bool(joint.any())
            matrices.add(scan.matrix)
        if slices >= 500:
            break
    assert slices >= 500 and found >= 300 and len(matrices) >= 3


@pytest.mark.real
@pytest.mark.slow
def test_identical_on_real_regions(real_data: Path) -> None:
    """Region masks of real scans, cut crudely into bones along two lines: real outlines, at three matrix sizes."""
    slices = []
    for path in sorted((real_data / "vhi" / "segmentations" / "Disease_region_manual_segmentation").rglob("*.nii.gz")):
        region = np.asarray(nib.load(path).dataobj) > 0
        for mask in region.transpose(2, 1, 0)[:, ::-1]:
            rows, columns = np.nonzero(mask)
            if len(rows):
                lateral = np.abs(np.arange(mask.shape[1]) - columns.mean())[None, :] * 0.595
                below = (np.arange(mask.shape[0]) - rows.min())[:, None] * 0.595
                edge = 58 - 0.26 * below
                slices.append(np.where(mask & (lateral < edge - 2), 1, np.where(mask & (lateral > edge + 2), 2, 0)))
    assert len(slices) >= 150
    found = 0
    for bones in slices[:200]:
        joint = extract_joint(bones, Joint())
        assert np.array_equal(joint, reference_joint(bones, Joint()))
        found += joint.any()
    assert found >= 100
