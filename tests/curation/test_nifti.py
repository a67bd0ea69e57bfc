"""NIfTI in every axis order, and each file that is no usable image refused with its reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from axspa_lib.curation.curate import curate
from axspa_lib.curation.nifti import read_mask, read_nifti, read_sidecar
from axspa_lib.curation.open import open_source
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.errors import DataError

RNG = np.random.default_rng(0)


def image(shape: Any = (20, 24, 6), dtype: Any = np.int16, tilt: float = 40.0, shift: float = 0.0) -> nib.Nifti1Image:
    """Axes left, cranial, dorsal, as the public collection stores them."""
    angle = np.radians(tilt)
    affine = np.eye(4)
    affine[:3, 0] = [-0.9, 0, 0]
    affine[:3, 1] = np.array([0, np.sin(angle), np.cos(angle)]) * 1.2
    affine[:3, 2] = np.array([0, -np.cos(angle), np.sin(angle)]) * 4.0
    affine[:3, 3] = shift
    made = nib.Nifti1Image(RNG.integers(1, 900, shape).astype(dtype), affine)
    made.set_sform(affine, 1)
    made.set_qform(affine, 1)
    return made


def test_public_layout_becomes_canonical(tmp_path: Path) -> None:
    source = image()
    nib.save(source, tmp_path / "a.nii.gz")
    volume = read_nifti(tmp_path / "a.nii.gz")
    data = np.asarray(source.dataobj)
    np.testing.assert_array_equal(volume.array, data.transpose(2, 1, 0)[:, ::-1])  # rows run caudally
    np.testing.assert_allclose(volume.spacing, (4.0, 1.2, 0.9), rtol=1e-5)


#: Name of the patient: what stands in the place of its T1, and the reason in the report.
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "text-file": (lambda p: p.write_bytes(b"not a NIfTI file"), "cannot be read as NIfTI"),
    "truncated": (lambda p: nib.save(image(), p) or p.write_bytes(p.read_bytes()[:400]), "cannot be read as NIfTI"),
    "four-dimensions": (lambda p: nib.save(image((20, 24, 6, 3)), p), "4 dimensions"),
    "nan": (lambda p: nib.save(spoiled(np.nan), p), "1 voxels are NaN or infinite"),
    "infinite": (lambda p: nib.save(spoiled(np.inf), p), "1 voxels are NaN or infinite"),
    "no-orientation": (lambda p: nib.save(unoriented(), p), "states no orientation"),
    "axial": (lambda p: nib.save(image(tilt=88), p), "axial"),
    "complex-numbers": (lambda p: nib.save(image(dtype=np.complex64), p), "complex"),
    "one-zero-slice": (lambda p: nib.save(blank(), p), "1 of 6 slices are constant"),
}


@pytest.fixture(scope="module")
def curated(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    source = tmp_path_factory.mktemp("nifti")
    (source / "truth").mkdir()
    for name in (*REFUSED, "good", "single-volume-in-4d", "mask-on-another-grid"):
        nib.save(image(), source / f"{name}_STIR.nii")
        nib.save(image((20, 24, 6, 1)) if "4d" in name else image(), source / f"{name}_T1.nii")
        if name in REFUSED:
            REFUSED[name][0](source / f"{name}_T1.nii")
    nib.save(image((9, 9, 9)), source / "truth" / "mask-on-another-grid_bones.nii.gz")
    make.vouch(source)
    out = tmp_path_factory.mktemp("out") / "cohort"
    return Cohort(curate(open_source(source), out, seed=0, bones_split=None, detection_split=None))


@pytest.mark.parametrize("name", REFUSED)
def test_a_patient_that_cannot_be_used_has_its_reason(curated: Cohort, name: str) -> None:
    rows = curated.exclusions.set_index("patient").loc[[name]]
    assert len(rows) == 1 and rows["excludes"].all() and rows["stage"].iloc[0] == "images"
    assert re.search(f"T1: .*{REFUSED[name][1]}", rows["reason"].iloc[0]), rows["reason"].iloc[0]


def test_no_patient_is_harmed_by_another_and_a_bad_mask_costs_the_mask(curated: Cohort) -> None:
    assert curated.patients == ["good", "mask-on-another-grid", "single-volume-in-4d"]
    mask = curated.exclusions.set_index("patient").loc["mask-on-another-grid"]
    assert "lies on another grid than the T1" in mask["reason"]
    assert mask["stage"] == "reference" and not mask["excludes"]
    assert not curated.participants["has_bones"].any()


def spoiled(value: float) -> nib.Nifti1Image:
    made = image(dtype=np.float32)
    data = np.array(made.dataobj)
    data[3, 4, 2] = value
    return nib.Nifti1Image(data, made.affine)


def unoriented() -> nib.Nifti1Image:
    made = image()
    made.set_sform(None, 0)
    made.set_qform(None, 0)
    return made


def blank() -> nib.Nifti1Image:
    made = image()
    data = np.array(made.dataobj)
    data[..., 2] = 0
    return nib.Nifti1Image(data, made.affine)


def test_scaled_intensities_are_those_of_the_header(tmp_path: Path) -> None:
    made = image(dtype=np.float64)
    made.header.set_data_dtype(np.int16)
    made.header.set_slope_inter(0.5, 3)
    nib.save(made, tmp_path / "a.nii")
    oracle = nib.load(tmp_path / "a.nii").get_fdata().transpose(2, 1, 0)[:, ::-1]
    np.testing.assert_allclose(read_nifti(tmp_path / "a.nii").array, oracle, rtol=1e-6)


def test_masks_lie_on_their_image_or_are_refused(tmp_path: Path) -> None:
    nib.save(image(), tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii")
    labels = RNG.integers(0, 3, (20, 24, 6)).astype(np.float32)
    nib.save(nib.Nifti1Image(labels, image().affine), tmp_path / "m.nii")
    mask = read_mask(tmp_path / "m.nii", volume)
    assert mask.array.dtype == np.uint8
    np.testing.assert_array_equal(mask.array, labels.transpose(2, 1, 0)[:, ::-1])
    for other, reason in ((image((20, 24, 5)), "another grid"), (image(shift=9.0), "another grid")):
        nib.save(other, tmp_path / "m.nii")
        with pytest.raises(DataError, match=reason):
            read_mask(tmp_path / "m.nii", volume)
    nib.save(nib.Nifti1Image(labels + 0.4, image().affine), tmp_path / "m.nii")
    with pytest.raises(DataError, match="no labels"):
        read_mask(tmp_path / "m.nii", volume)


def test_free_text_is_never_copied(tmp_path: Path) -> None:
    made = image()
    made.header["descrip"] = b"Zorglub 10:31"
    made.header["aux_file"] = b"Zorglub"
    made.header["intent_name"] = b"Zorglub"
    for sequence in ("T1", "STIR"):
        nib.save(made, tmp_path / "in" / f"P1_{sequence}.nii") if (tmp_path / "in").mkdir(exist_ok=True) is None else 0
        kind = {"T1": "SE", "STIR": "SE_IR"}[sequence]
        fields = {"EchoTime": 0.06, "PatientName": "Zorglub", "ScanningSequence": kind, "Manufacturer": "Zorglub"}
        (tmp_path / "in" / f"P1_{sequence}.json").write_text(json.dumps(fields))
    assert read_sidecar(tmp_path / "in" / "P1_STIR.nii") == {"EchoTime": 0.06, "ScanningSequence": ["SE", "IR"]}
    out = curate(open_source(tmp_path / "in"), tmp_path / "out", seed=0, bones_split=None, detection_split=None)
    for file in out.rglob("*"):
        if file.is_file():
            raw = file.read_bytes()
            raw = __import__("gzip").decompress(raw) if file.suffix == ".gz" else raw
            assert b"Zorglub" not in raw, file


def test_a_folder_of_pairs_becomes_a_cohort(tmp_path: Path) -> None:
    """Flat pairs, folders and a BIDS tree side by side; a mask on another grid costs the mask, not the patient."""
    source, bids = tmp_path / "in", "sub-01/ses-a/anat/sub-01_ses-a"
    names = {
        "flat": ("flat_T1.nii.gz", "flat_STIR.nii.gz"),
        "foldered": ("foldered/T1.nii.gz", "foldered/STIR.nii.gz"),
        "sub-01_ses-a": (f"{bids}_acq-cor_T1w.nii.gz", f"{bids}_acq-corSTIR_T2w.nii.gz"),
        "alone": ("alone_T1.nii.gz",),
    }  # fmt: skip
    for files in names.values():
        for file in files:
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            nib.save(image(), source / file)
    (source / "truth").mkdir()
    nib.save(nib.Nifti1Image(np.ones((20, 24, 6), np.uint8), image().affine), source / "truth" / "flat_bones.nii.gz")
    nib.save(image((9, 9, 9)), source / "truth" / "foldered_bones.nii.gz")
    cohort = Cohort(curate(open_source(source), tmp_path / "out", seed=0, bones_split=None, detection_split=None))
    assert cohort.patients == ["P0002", "P0003", "P0004"]  # in the order of their names, which nobody vouched for
    assert list(cohort.participants["has_bones"]) == [True, False, False]
    reasons = cohort.exclusions.set_index("patient")
    assert "another grid" in reasons.loc["P0003", "reason"] and not reasons.loc["P0003", "excludes"]
    assert "none of the 1 series is a (semi)coronal STIR" in reasons.loc["P0001", "reason"]
    row = cohort.participants.set_index("patient").loc["P0004"]
    assert pd.notna(row["t1_file"]) and row["t1_file"].startswith("sub-P0004/anat/sub-P0004_acq-cor_T1w")


def forms(sform: Any, qform: Any, codes: tuple[int, int] = (1, 1)) -> nib.Nifti1Image:
    made = image()
    affine = np.array(made.affine)
    made.set_qform(affine if qform is None else affine + qform, codes[1])
    made.set_sform(affine if sform is None else sform if np.shape(sform) == (4, 4) else affine + sform, codes[0])
    return made


FLAT = np.diag([-1.0, -1.0, 1.0, 1.0])
UP = np.pad(np.array([[0.0], [0], [25], [0]]), ((0, 0), (3, 0)))


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        (lambda: forms(FLAT, None), "the sform contradicts the voxel sizes, the qform was used"),
        (lambda: forms(affine_of(UP), None, (2, 1)), "sform and qform lie 25.0 mm apart, the qform is the scanner's"),
        (lambda: forms(affine_of(UP), None), "T1: its sform and qform lie 25.0 mm apart"),
        (lambda: forms(FLAT, None, (1, 0)), "T1: its sform contradict its voxel sizes"),
        (lambda: filled(np.nan, np.float32), "120 voxels of padding made background"),
        (lambda: filled(-32768, np.int16), "120 voxels of padding made background"),
        (lambda: filled(-1000, np.float32), "120 voxels of padding made background"),
        (lambda: filled(1e20, np.float32), "120 voxels of padding made background"),
        (lambda: image((20, 24, 6, 1, 1)), ""),
    ],
)
def test_geometry_and_padding_are_right_or_named(tmp_path: Path, made: Any, outcome: str) -> None:
    (tmp_path / "in").mkdir()
    for sequence in ("T1", "STIR"):
        nib.save(made() if sequence == "T1" else image(), tmp_path / "in" / f"P1_{sequence}.nii.gz")
    kept = {"seed": 0, "bones_split": None, "detection_split": None}
    if outcome.startswith("T1"):
        with pytest.raises(DataError, match=re.escape(outcome)):
            curate(open_source(tmp_path / "in"), tmp_path / "out", **kept)
        return
    cohort = Cohort(curate(open_source(tmp_path / "in"), tmp_path / "out", **kept))
    t1 = cohort.volume("P0001", "T1")
    np.testing.assert_allclose(t1.affine, read_nifti(tmp_path / "in" / "P1_STIR.nii.gz").affine, atol=1e-3)
    assert t1.array.shape == (6, 24, 20) and t1.array.min() >= 0 and t1.array.max() < 900
    assert outcome in str(cohort.participants["notes"][0]) and (t1.array == 0).sum() == (120 if "120" in outcome else 0)


def affine_of(shift: Any) -> Any:
    return np.array(image().affine) + shift


def filled(value: float, dtype: Any) -> nib.Nifti1Image:
    data = np.array(image(dtype=dtype).dataobj)
    data[:1, :20] = value
    return nib.Nifti1Image(data, image().affine)


NAMES: dict[str, tuple[str, str]] = {
    "dcm2niix": ("P1_t1_tse_cor_obl_20200102101500_4.nii.gz", "P1_t2_tirm_cor_obl_20200102101500_5.nii.gz"),
    "bids": ("sub-01/anat/sub-01_acq-cor_T1w.nii.gz", "sub-01/anat/sub-01_acq-STIR_T2w.nii.gz"),
    "bids with runs": ("sub-01/anat/sub-01_run-1_T1w.nii.gz", "sub-01/anat/sub-01_acq-STIR_run-2_T2w.nii.gz"),
    "folders": ("P1/T1/a.nii.gz", "P1/STIR/b.nii.gz"),
    "philips": ("P1_eT1W_TSE.nii.gz", "P1_STIR_longTE.nii.gz"),
    "pair": ("P1_T1.img", "P1_STIR.img"),
    "nnunet": ("imagesTr/P1_0000.nii.gz", "imagesTr/P1_0001.nii.gz"),
    "nrrd": ("P1_T1.nrrd", "P1_STIR.nrrd"),
    "plain called gz": ("P1_T1.nii.gz", "P1_STIR.nii.gz"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_of_other_tools_are_understood(tmp_path: Path, kind: str) -> None:
    pair = [image(), image()]
    for made, name in zip(pair, NAMES[kind], strict=True):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "nrrd":
            nib.save(made, tmp_path / "x.nii")
            sitk = pytest.importorskip("SimpleITK")
            sitk.WriteImage(sitk.ReadImage(str(tmp_path / "x.nii")), str(path))
        elif kind == "pair":
            nib.save(nib.Nifti1Pair(np.asarray(made.dataobj), made.affine), path)
        elif kind == "plain called gz":
            nib.save(made, tmp_path / "x.nii")
            path.write_bytes((tmp_path / "x.nii").read_bytes())
        else:
            nib.save(made, path)
    channels = {"channel_names": {"0": "STIR", "1": "T1"}}
    (tmp_path / "in" / "dataset.json").write_text(json.dumps(channels if kind == "nnunet" else {}))
    out = curate(open_source(tmp_path / "in"), tmp_path / "out", seed=0, bones_split=None, detection_split=None)
    found = Cohort(out).volume("P0001", "T1")
    wanted = np.asarray(pair[kind == "nnunet"].dataobj).transpose(2, 1, 0)[:, ::-1]
    np.testing.assert_array_equal(found.array, wanted)
    np.testing.assert_allclose(found.spacing, (4.0, 1.2, 0.9), rtol=1e-4)


def test_nnunet_channels_without_names_are_refused(tmp_path: Path) -> None:
    for number in range(2):
        nib.save(image(), tmp_path / f"P1_000{number}.nii.gz")
    with pytest.raises(DataError, match=r"none of 2 images tells by its name .*channel_names"):
        curate(open_source(tmp_path), tmp_path / "out", seed=0, bones_split=None, detection_split=None)
