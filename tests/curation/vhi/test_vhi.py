"""The public collection as a source: a small copy of its layout with drawn anatomy, and the real files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import ndimage as ndi

from axspa_lib.curation import report
from axspa_lib.curation.curate import curate
from axspa_lib.curation.open import open_source
from axspa_lib.curation.vhi.report import agreement_by_area, format_agreement, marked_by_area, split_of
from axspa_lib.curation.vhi.source import READERS, VhiSource, drawn_areas, trusted_bones
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import QUADRANTS, SIDES, Bone
from axspa_lib.study.volume import Volume

SHAPE = (4, 110, 160)
JOINT = 50  # columns from the midline
STUDY = "images_study/{kind}/{when}_Scans/{scan}_{kind}.nii.gz"
REGION = "segmentations/Disease_region_manual_segmentation/{scan}_disease_region.nii.gz"
DRAWING = "segmentations/Inflammation_manual_segmentation/{reader}/{scan}_inflammation_{reader}.nii.gz"


def write(path: Path, canonical: NDArray, tilt: float, mask: bool = False) -> None:
    """As the collection stores it: axes to the left, up and back, masks without sform, a time of day as free text."""
    angle = np.radians(tilt)
    affine = np.eye(4)
    affine[:3, 0] = (-1.0, 0, 0)
    affine[:3, 1] = (0, np.sin(angle), np.cos(angle))
    affine[:3, 2] = (0, -3.3 * np.cos(angle), 3.3 * np.sin(angle))
    image = nib.Nifti1Image(np.ascontiguousarray(canonical.transpose(2, 1, 0)[:, ::-1]), affine)
    image.header["descrip"] = b"TE=8;Time=121419.670"
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=0 if mask else 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def anatomy() -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """T1 and region; joints at 50 columns off the midline on rows 30 to 90, the patient's right joint thicker."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]]
    offset = columns - (SHAPE[2] - 1) / 2
    ilium = (abs(offset) >= JOINT) & (abs(offset) < 68) & (rows >= 20) & (rows < 90)
    sacrum = (abs(offset) < JOINT) & (rows >= 30) & (rows < 90)
    lumbar = (abs(offset) < 22) & (rows >= 5) & (rows < 24)
    t1 = rng.normal(20, 3, SHAPE)
    marrow = ilium | sacrum | lumbar
    t1[:, marrow] = 200 + rng.normal(0, 10, (SHAPE[0], marrow.sum()))
    joint = marrow & (rows >= 30) & ((abs(offset + JOINT) < 3) | (abs(offset - JOINT) < 2))
    t1[:, joint] *= 0.3
    return t1.round().astype(np.int16), np.repeat((marrow)[None], SHAPE[0], 0).astype(np.uint16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1007 (before treatment, four readings, LSP), 4386 (after, none, LAS), 6785 and 9976 (one person, T1 only)."""
    path = tmp_path_factory.mktemp("collection")
    t1, region = anatomy()
    for scan, when, tilt in (("1007", "Pre", 30.0), ("4386", "Post", 51.0)):
        write(path / STUDY.format(kind="T1W", when=when, scan=scan), t1, tilt)
        write(path / STUDY.format(kind="STIR", when=when, scan=scan), t1 + 500, tilt)
        write(path / REGION.format(scan=scan), region, tilt, mask=True)
    for scan, when in (("6785", "Pre"), ("9976", "Post")):
        write(path / f"images_model_evaluation/T1W/{when}_Scans/{scan}_T1W.nii.gz", t1, 40.0)
    middle = (SHAPE[2] - 1) / 2
    for number, reader in enumerate(READERS):
        drawn = np.zeros(SHAPE, np.uint16)
        right, left = int(middle - JOINT), int(middle + JOINT + 1)
        drawn[1, 40:44, right - 10 : right - 6] = 1  # patient right, iliac, upper: 16 mm^2
        drawn[2, 80:82, left - 8 : left - 4] = 1  # patient left, sacral, lower: 8 mm^2
        drawn[3, 60:70, int(middle) - 5 : int(middle) + 5] = 1  # sacrum far from both joints
        drawn[0, 70 : 70 + number * 3, left + 5 : left + 10] = 1  # patient left, iliac, lower: 0, 15, 30, 45 mm^2
        write(path / DRAWING.format(reader=reader, scan="1007"), drawn, 30.0, mask=True)
    return path


def test_it_is_recognised(folder: Path) -> None:
    source = open_source(folder)
    assert isinstance(source, VhiSource)
    assert source.patients() == ["1007pre", "4386post", "6785pre", "9976post"]
    assert source.opinions() is None


def test_examinations_carry_subject_session_and_bones(folder: Path) -> None:
    source = VhiSource(folder)
    first, second = source.load("6785pre"), source.load("9976post")
    assert (first.subject, first.session, second.subject, second.session) == ("6785", "pre", "6785", "post")
    assert first.reference_bones is None and "no STIR" in first.notes[0]
    study = source.load("1007pre")
    assert study.stir is not None and study.reference_bones is not None and study.t1 is not None
    assert set(study.truth) == {"joint", "region", "split", *(f"inflammation_{reader}" for reader in READERS)}
    assert study.sidecar == {"T1": {"EchoTime": 0.008}, "STIR": {"EchoTime": 0.06}}
    assert "121419" not in repr(study)


@pytest.mark.parametrize("patient", ["1007pre", "4386post"])
def test_orientation_is_canonical_for_both_axis_orders(folder: Path, patient: str) -> None:
    """LSP and LAS files (tilt below and above 45 degrees) show the same anatomy in the same place."""
    study = VhiSource(folder).load(patient)
    assert study.t1 is not None and study.reference_bones is not None
    np.testing.assert_array_equal(study.t1.array, anatomy()[0])
    bones = study.reference_bones.array
    rows = np.arange(SHAPE[1])[None, :, None]
    assert (bones == Bone.SACRUM).sum() > 0 and (bones * (rows < 20) == 0).all()  # L5 is left out
    assert (bones[:, :, [10, -11]] != Bone.SACRUM).all() and (bones[:, 60, 79] == Bone.SACRUM).all()
    assert study.t1.affine[0, 2] < 0 and study.t1.affine[1, 0] < 0 and study.t1.affine[2, 1] < 0


def test_readings_follow_from_the_drawings(folder: Path) -> None:
    readings = VhiSource(folder).readings()
    assert list(readings) == ["patient", "reader", "slice", "side", "quadrant", "inflammation"]
    assert set(readings["patient"]) == {"1007pre"} and set(readings["reader"]) == set(READERS)
    assert len(readings) == len(READERS) * SHAPE[0] * len(SIDES) * len(QUADRANTS)
    marked = readings[readings["inflammation"] == 1]
    always = marked[marked["reader"] == "R11"][["slice", "side", "quadrant"]].to_numpy().tolist()
    assert always == [[1, "R", "iliac_upper"]]
    more = marked[(marked["slice"] == 0)][["reader", "side", "quadrant"]].to_numpy().tolist()
    assert more == [[reader, "L", "iliac_lower"] for reader in ("R12", "R21", "R22")]
    lenient = VhiSource(folder, min_area_mm2=5.0).readings()
    assert lenient[(lenient["slice"] == 2) & (lenient["inflammation"] == 1)]["quadrant"].unique() == ["sacral_lower"]


def test_one_bad_file_costs_one_examination(folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / REGION.format(scan="1007")).write_bytes(b"no image")
    source = VhiSource(copy)
    with pytest.raises(DataError, match="1007_disease_region"):
        source.load("1007pre")
    assert source.load("4386post").reference_bones is not None
    assert source.readings().empty
    with pytest.raises(DataError, match="is not in"):
        source.load("1012post")
    with pytest.raises(DataError, match="no T1 of the collection"):
        VhiSource(tmp_path / "empty")


def test_fingerprint_changes_with_the_files(folder: Path, tmp_path: Path) -> None:
    source = VhiSource(folder)
    before = source.fingerprint("1007pre")
    assert before == VhiSource(folder).fingerprint("1007pre") != source.fingerprint("4386post")


def test_untrusted_slices_are_left_out_of_training(folder: Path) -> None:
    split = VhiSource(folder).split("1007pre")
    split.trusted.loc[split.trusted["slice"] == 2, "trusted"] = False
    bones = trusted_bones(split).array
    assert not bones[2].any() and bones[[0, 1, 3]].any(axis=(1, 2)).all()


def test_areas_of_an_oblique_line_by_hand() -> None:
    """A joint line from (10, 20) to (29, 39) on the patient's left: lateral is to the right of it."""
    joint = np.zeros((1, 40, 60), np.uint8)
    joint[0, np.arange(10, 30), np.arange(20, 40)] = 2
    drawing = np.zeros_like(joint)
    drawing[0, 12, 15:20] = 1  # sacral upper, 5 pixels
    drawing[0, 25, 36:46] = 1  # iliac lower, 10 pixels: the line is at column 35
    drawing[0, 25, 30:34] = 1  # sacral lower, 4 pixels
    drawing[0, 12, 55:60] = 1  # farther than 10 mm
    grid = np.diag([4.0, 0.5, 0.5, 1.0])
    table = drawn_areas("p", Volume(joint, grid), {"R": Volume(drawing, grid)}, near_mm=10.0)
    assert set(table["side"]) == {"L"} and len(table) == 4
    areas = table.set_index("quadrant")["area_mm2"] / 0.25
    assert areas.to_dict() == {"sacral_upper": 5, "sacral_lower": 4, "iliac_upper": 0, "iliac_lower": 10}


def test_agreement_by_area_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

    rng = np.random.default_rng(1)
    truth = rng.gamma(0.5, 40, (6, 20, 2))
    rows = [
        (f"p{i}", reader, z, side, "iliac_upper", truth[i, z, k] * rng.lognormal(0, 0.7))
        for reader in READERS
        for i in range(6)
        for z in range(20)
        for k, side in enumerate(SIDES)
    ]
    areas = pd.DataFrame(rows, columns=["patient", "reader", "slice", "side", "quadrant", "area_mm2"])
    table = agreement_by_area(areas, minima=(0, 15), samples=200).set_index(["min_area_mm2", "pair"])
    wide = areas.pivot_table(index=["patient", "slice", "side"], columns="reader", values="area_mm2") > 15
    row = table.loc[(15, "R11-R22")]
    assert row["mcc"] == pytest.approx(matthews_corrcoef(wide["R11"], wide["R22"]))
    assert row["kappa"] == pytest.approx(cohen_kappa_score(wide["R11"], wide["R22"]))
    crossed = np.mean([matthews_corrcoef(wide[a], wide[b]) for a in ("R11", "R12") for b in ("R21", "R22")])
    both = table.loc[(15, "R1-R2")]
    assert both["mcc"] == pytest.approx(crossed) and both["low"] < crossed < both["high"]
    assert (row["half_slices"], row["patients"]) == (240, 6)


def test_the_curated_cohort_keeps_splits_and_areas(folder: Path, tmp_path: Path) -> None:
    """What the book shows is read from the cohort, not computed again; T1 alone stays, for bones."""
    source = VhiSource(folder)
    cohort = Cohort(curate(source, tmp_path / "vhi", seed=0, bones_split=(2, 1, 1), detection_split=None))
    assert cohort.patients == source.patients()
    kept, made = split_of(cohort, "1007pre"), source.split("1007pre")
    np.testing.assert_array_equal(kept.bones.array, made.bones.array)
    np.testing.assert_array_equal(kept.joint.array, made.joint.array)
    pd.testing.assert_frame_equal(kept.trusted.reset_index(drop=True), made.trusted, check_dtype=False)
    pd.testing.assert_frame_equal(cohort.table("drawn_areas"), source.areas, check_dtype=False)
    with pytest.raises(DataError, match="no split of a region mask"):
        split_of(cohort, "6785pre")
    assert report.flow(cohort).set_index("step").loc["alone", "patients"] == 2
    counted = marked_by_area(cohort.table("drawn_areas"), (0, 10)).set_index("reading")
    assert counted.loc["R11"].to_list() == [2, 1] and counted.loc["R22"].to_list() == [3, 2]
    words = format_agreement(agreement_by_area(cohort.table("drawn_areas"), minima=(0, 10), samples=20))
    assert list(words) == ["pair", "> 0 mm²", "> 10 mm²"] and len(words) == 7
    assert words["pair"][1] == "reader 1 trial 1, reader 2 trial 1" and " [" in words["> 0 mm²"][1]


@pytest.mark.real
def test_air_lies_behind_the_back_and_masks_overlay_on_real_scans(real_data: Path) -> None:
    source = VhiSource(real_data / "vhi")
    here = set(source.patients())
    for patient in sorted(here & {"1007pre", "1013pre"}):  # one of each axis order
        study = source.load(patient)
        assert study.t1 is not None and study.stir is not None and study.reference_bones is not None
        image = study.t1.array
        assert (image[-1, -40:] < 60).mean() > 0.9  # air behind the back, below on the last slice
        assert (image[:4] < 30).mean() < 0.05 < (image[-4:] < 30).mean()  # no air in front, where the bowel is
        region = study.reference_bones.array > 0
        gradient = np.hypot(ndi.sobel(image.astype(float), 1), ndi.sobel(image.astype(float), 2))

        def on_edges(mask: NDArray[np.bool_], gradient: NDArray[np.float64] = gradient) -> float:
            return float(gradient[mask & ~ndi.binary_erosion(mask, np.ones((1, 3, 3)))].mean())

        flips = [on_edges(np.flip(region, axis)) for axis in (0, 1)]
        # the mask's outline lies on edges of the image; turned back to front or upside down it does not
        assert on_edges(region) > 1.1 * max(flips)


@pytest.mark.real
@pytest.mark.slow
def test_real_readers_agree_as_measured_before(real_data: Path) -> None:
    """Against an independent measurement with hand-traced joint lines: .548, .580, .639 (8 scans)."""
    source = VhiSource(real_data / "vhi")
    areas = source.areas
    patients = areas["patient"].nunique()
    if patients < 6:
        pytest.skip(f"only {patients} of the 8 examinations with drawings are downloaded")
    table = agreement_by_area(areas, minima=(0, 10, 50), samples=200)
    found = table[table["pair"] == "R1-R2"].set_index("min_area_mm2")["mcc"]
    for minimum, expected in ((0, 0.548), (10, 0.580), (50, 0.639)):
        assert abs(found[minimum] - expected) < 0.1
    half_slices = areas.groupby(["patient", "slice", "side"]).ngroups
    assert 20 <= half_slices / patients <= 32
