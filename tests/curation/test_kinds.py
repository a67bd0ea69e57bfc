"""Kinds of awkward input from bug reports of other tools: each becomes the right cohort or one line with the remedy."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from axspa_lib.curation.curate import curate
from axspa_lib.curation.geometry import grid_distance
from axspa_lib.curation.open import open_source
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.errors import DataError
from tests.curation.corpus import SECRETS, plant, put


def curated(folder: Path, **options: Any) -> Cohort:
    out = folder.parent / "out" / "lab"
    return Cohort(
        curate(open_source(folder), out, **({"seed": 0, "bones_split": None, "detection_split": None} | options))
    )


def assert_ramp(make: Any, volume: Any, slices: int = 6) -> None:
    """The volume has so many slices and every voxel tells its own place."""
    index = np.stack(np.meshgrid(*map(np.arange, volume.array.shape), indexing="ij"), axis=-1)
    world = (index @ volume.affine[:3, :3].T + volume.affine[:3, 3]) * [-1, -1, 1]
    assert len(volume.array) == slices and np.abs(volume.array - make.ramp(world)).max() <= 1


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("limit", [None, -32760])
def test_padding_becomes_background(make: Any, tmp_path: Path, signed: bool, limit: int | None) -> None:
    def pad(ds: Any, index: int) -> Any:
        image = np.frombuffer(ds.PixelData, "<i2").reshape(ds.Rows, ds.Columns).copy()
        image[:3, :4] = -32768
        ds.PixelData, ds.PixelRepresentation = image.tobytes(), int(signed)
        ds.PixelPaddingValue = -32768 if signed else 32768
        if limit is not None:
            ds.PixelPaddingRangeLimit = limit if signed else limit + 65536
        return ds

    make.pair(tmp_path / "in" / "P1", {"edit": pad}, {"edit": pad})
    cohort = curated(tmp_path / "in")
    image = cohort.volume(cohort.patients[0], "T1").array
    assert (image == 0).sum() == 6 * 12 and image[image > 0].min() > 700 and image.max() < 1100


@pytest.mark.parametrize("meta", ["none, implicit", "none, explicit", "without a transfer syntax"])
def test_files_without_preamble_or_syntax_are_read(make: Any, tmp_path: Path, meta: str) -> None:
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    make.pair(tmp_path / "in" / "P1")
    for file in (tmp_path / "in" / "P1" / "T1").iterdir():
        ds = pydicom.dcmread(file)
        content = DicomBytesIO()
        content.is_little_endian, content.is_implicit_VR = True, meta != "none, explicit"
        ds.file_meta = None
        write_dataset(content, ds)
        thin = b"\2\0\2\0UI\x1a\0" + b"1.2.840.10008.5.1.4.1.1.4\0"
        head = b"\0" * 128 + b"DICM\2\0\0\0UL\4\0" + len(thin).to_bytes(4, "little") + thin
        file.write_bytes((head if meta.startswith("without") else b"") + content.getvalue())
    cohort = curated(tmp_path / "in")
    assert_ramp(make, cohort.volume(cohort.patients[0], "T1"))


def t1(make: Any, root: Path, number: int, **changes: Any) -> None:
    """One more T1 series of an export; grey values tell which."""
    fields = {"series": f"1.2.7.{number}", "prefix": f"A{number}-", "offset": 10000 * number} | changes
    make.Series("T1", **fields).write(root)


#: Kind: series of an export beside a STIR (changes of a T1 each), and the number of the right one; none: refused.
CHOICES: dict[str, tuple[list[dict[str, Any]], int | None, str]] = {
    "dixon fat and water": (
        [{"edit": put(ImageType=["DERIVED", "PRIMARY", "DIXON", k])} for k in ("WATER", "FAT")], None, "Dixon fat",
    ),
    "dixon in phase and opposed": (
        [{"edit": put(ImageType=["DERIVED", "PRIMARY", "DIXON", k])} for k in ("OPP_PHASE", "IN_PHASE")], 1, "",
    ),
    "philips in phase and fat": ([{"edit": put(ImageType=["ORIGINAL", "PRIMARY", k])} for k in ("F", "IP")], 1, ""),
    "larger reformat": (
        [{"rows": 48, "columns": 40, "edit": put(ImageType=["DERIVED", "SECONDARY", "MPR"])}, {}],
        1, "",
    ),
    "subtraction": ([{"edit": put(ImageType=["DERIVED", "PRIMARY", "SUBTRACT"]), "rows": 48}, {}], 1, ""),
    "after contrast, German": ([{"description": "t1_tse_cor_KM"}, {"description": "t1_tse_cor", "slices": 7}], 1, ""),
    "after contrast, Italian": ([{"description": "T1 cor mdc"}, {"description": "T1 cor senza mdc"}], 1, ""),
    "after contrast, only": ([{"description": "t1_tse_fs_cor_gd"}], None, "contrast agent"),
    "fat-saturated": ([{"description": "t1_fs_cor"}, {"description": "t1_cor", "slices": 5}], 1, ""),
    "lumbar by name": ([{"description": "T1 COR LWS", "rows": 48}, {"description": "T1 COR"}], 1, ""),
    "straight beside semi-coronal": ([{"tilt": 8.0, "rows": 48, "frame": "1.2.3.3"}, {}], 1, ""),
    "two alike": ([{}, {}], None, "2 series can be the T1"),
    "two repetitions": ([{"series": "1.2.7", "edit": put(AcquisitionNumber=n)} for n in (1, 2)], None, "acquisition 1"),
    "one repetition is another echo": (
        [{"series": "1.2.7", "edit": put(EchoTime=echo)} for echo in (90.0, 9.0)], 1, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHOICES)
def test_the_right_t1_is_chosen_or_none(make: Any, tmp_path: Path, kind: str) -> None:
    series, right, reason = CHOICES[kind]
    for number, changes in enumerate(series):
        t1(make, tmp_path / "in" / "x", number, **changes)
    make.Series("STIR", prefix="S").write(tmp_path / "in" / "x")
    if right is None:
        with pytest.raises(DataError, match=reason):
            curated(tmp_path / "in")
        return
    cohort = curated(tmp_path / "in")
    found = cohort.volume("P0001", "T1").array
    assert found.min() // 10000 == right == found.max() // 10000
    report = pd.read_csv(cohort.path / "series.csv", keep_default_na=False)
    assert list(report["taken"]) == ["T1", "STIR"] + [""] * (len(series) - 1) and report["reason"].str.len().min() > 5


@pytest.mark.parametrize(
    ("sequence", "extra", "reason"),
    [
        (
            "STIR",
            {"ScanningSequence": "SE", "RepetitionTime": 4000, "EchoTime": 90, "InversionTime": None},
            "without an inver",
        ),
        (
            "STIR",
            {"ScanningSequence": "GR", "RepetitionTime": 600, "EchoTime": 15, "InversionTime": None},
            "gradient echo",
        ),
        ("STIR", {"ScanningSequence": "EP", "ImageType": ["DERIVED", "PRIMARY", "ADC"]}, "diffusion"),
        ("T1", {"ContrastBolusAgent": "GADOVIST", "ScanOptions": "FS"}, "contrast agent"),
        ("T1", {"ScanOptions": "FS"}, "fat suppression"),
    ],
)
def test_a_folder_that_holds_another_contrast_is_refused(
    make: Any, tmp_path: Path, sequence: str, extra: dict[str, Any], reason: str
) -> None:
    make.pair(tmp_path / "in" / "P1", **{sequence.lower(): {"extra": extra}})
    with pytest.raises(DataError, match=f"{sequence}: the series of this folder is none: .*{reason}"):
        curated(tmp_path / "in")


@pytest.mark.parametrize("layout", [True, False])
@pytest.mark.parametrize("slices", [15, 16])
def test_tiny_differences_divide_no_series(make: Any, tmp_path: Path, layout: bool, slices: int) -> None:
    def jitter(ds: Any, index: int) -> Any:
        cosines = [float(value) for value in ds.ImageOrientationPatient]
        cosines[4] = 0.615 + (1e-6 if index % 2 else -1e-6)
        ds.ImageOrientationPatient = [f"{value:.7f}" for value in cosines]
        return put(EchoTime=float(ds.EchoTime) + index % 2 * 1e-4)(ds, index)

    fields = {"slices": slices, "tilt": float(np.degrees(np.arcsin(0.615))), "edit": jitter}
    make.pair(tmp_path / "in" / "P1", fields, fields)
    if not layout:
        for number, file in enumerate(sorted((tmp_path / "in").rglob("I*"))):
            file.rename(tmp_path / "in" / f"{number}")
        shutil.rmtree(tmp_path / "in" / "P1")
    assert_ramp(make, curated(tmp_path / "in").volume("P0001", "T1"), slices)


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("end", ["empty", "absent"])
@pytest.mark.parametrize("others", [0, 1])
def test_labels_never_move_by_a_slice(make: Any, tmp_path: Path, end: str, numbered: bool, others: int) -> None:
    """The most anterior slice of the T1 is gone; a posterior one costs nothing but the slice."""

    def number(ds: Any, index: int) -> Any:
        return put(InstanceNumber=index + 1)(ds, index) if numbered else ds

    for who in range(1 + others):
        for sequence in ("T1", "STIR"):
            make.Series(
                sequence,
                slices=8,
                prefix=f"{sequence}{who}-",
                study=f"1.2.{who}",
                patient=f"A{who}",
                edit=number,
                offset=who,
            ).write(tmp_path / "in")
    first = min((tmp_path / "in").glob("T10-*"), key=lambda file: pydicom.dcmread(file).ImagePositionPatient[1])
    first.unlink() if end == "absent" else first.write_bytes(b"")
    if not others:
        with pytest.raises(DataError, match=r"missing|nothing tells whether"):
            curated(tmp_path / "in")
    else:
        cohort = curated(tmp_path / "in")
        assert cohort.patients == ["P0002"] and len(cohort.volume("P0002", "T1").array) == 8


def test_placeholders_are_nobody(make: Any, tmp_path: Path) -> None:
    for number, (person, birth) in enumerate(
        [("ANONYMOUS", ""), ("ANONYMOUS", ""), ("", ""), ("H7", "19500101"), ("H7", "19610202"), ("H8", ""), ("H8", "")]
    ):
        for sequence in ("T1", "STIR"):
            make.Series(
                sequence, patient=person, study=f"1.2.{number}", prefix=f"{sequence}{number}-", offset=number,
                edit=put(PatientBirthDate=birth),
            ).write(tmp_path / "in")  # fmt: skip
    cohort = curated(tmp_path / "in")
    assert cohort.participants["subject"].nunique() == 6 and len(cohort.patients) == 7
    assert set(cohort.exclusions["stage"]) == {"people"} and cohort.exclusions["patient"].nunique() == 5


def test_copies_are_one_person_and_in_one_subset(make: Any, tmp_path: Path) -> None:
    rows = ["patient,reader,asas_positive"]
    for number in range(14):
        for sequence in ("T1", "STIR"):
            make.Series(sequence, patient=f"P{number}", offset=number // 2).write(
                tmp_path / "in" / f"P{number}" / sequence
            )
        rows += [f"P{number},{reader},{number % 4 // 2}" for reader in "12"]
    (tmp_path / "in" / "opinions.csv").write_text("\n".join(rows))
    make.vouch(tmp_path / "in")
    splits = curated(tmp_path / "in", detection_split=(8, 3, 3)).splits
    assert splits["subject"].nunique() == 7 and (splits.groupby("subject")["detection"].nunique() == 1).all()


def enhanced(make: Any, sequence: str, vendor: str, path: Path) -> None:
    """The frames of a series in one enhanced file, as the vendors write it."""
    slices = [make.Series(sequence, syntax=ExplicitVRLittleEndian).dataset(index) for index in range(6)]
    order = [3, 0, 5, 1, 4, 2] if vendor == "philips" else range(6)
    ds = slices[0]
    pixels = b"".join(slices[i].PixelData for i in order)
    frames = []
    for i in order:
        item = Dataset()
        one = {"ImagePositionPatient": slices[i].ImagePositionPatient}
        item.PlanePositionSequence = [dataset(**one)]
        item.FrameContentSequence = [dataset(FrameAcquisitionNumber=1, StackID="1", InStackPositionNumber=i + 1)]
        if vendor != "siemens":
            item.PlaneOrientationSequence = [dataset(ImageOrientationPatient=ds.ImageOrientationPatient)]
        if vendor == "philips":
            item.PixelValueTransformationSequence = [dataset(RescaleSlope=1 + i, RescaleIntercept=0)]
        frames.append(item)
    shared = Dataset()
    shared.PixelMeasuresSequence = [dataset(PixelSpacing=ds.PixelSpacing, SliceThickness=5)]
    if vendor == "siemens":
        shared.PlaneOrientationSequence = [dataset(ImageOrientationPatient=ds.ImageOrientationPatient)]
    shared.MRTimingAndRelatedParametersSequence = [dataset(RepetitionTime=float(ds.RepetitionTime))]
    shared.MREchoSequence = [dataset(EffectiveEchoTime=float(ds.EchoTime))]
    inversion = ds.get("InversionTime")
    shared.MRModifierSequence = [dataset(InversionRecovery="YES" if inversion else "NO")]
    if inversion:
        shared.MRModifierSequence[0].InversionTimes = [float(inversion)]
    ds.EchoPulseSequence = "SPIN"
    for keyword in (
        *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
        *("RepetitionTime", "EchoTime", "InversionTime", "ScanningSequence"),
    ):
        if keyword in ds:
            delattr(ds, keyword)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    ds.NumberOfFrames, ds.PixelData = 6, pixels
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], frames
    path.parent.mkdir(parents=True, exist_ok=True)
    make.save(ds, path)


def dataset(**fields: Any) -> Dataset:
    made = Dataset()
    for keyword, value in fields.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize("layout", [True, False])
@pytest.mark.parametrize("vendor", ["siemens", "philips", "ge"])
def test_enhanced_multi_frame_lies_where_single_frames_do(make: Any, tmp_path: Path, vendor: str, layout: bool) -> None:
    for sequence in ("T1", "STIR"):
        enhanced(make, sequence, vendor, tmp_path / "in" / "P1" / (sequence if layout else "x") / f"{sequence}.dcm")
    make.pair(tmp_path / "single" / "in" / "P1")
    many, one = curated(tmp_path / "in"), curated(tmp_path / "single" / "in")
    for sequence in ("T1", "STIR"):
        found, wanted = many.volume("P0001", sequence), one.volume("P0001", sequence)
        assert grid_distance(found, wanted) < 0.01
        slope = np.arange(1, 7)[:, None, None] if vendor == "philips" else 1
        assert np.array_equal(found.array, wanted.array[: len(found.array)] * slope) or np.array_equal(
            found.array, wanted.array * np.flip(slope)
        )
    assert many.sidecar("P0001", "STIR")["InversionTime"] == 0.15


@pytest.fixture(scope="module")
def exported(make: Any, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bytes]]:
    """Files of an export of six people, two with two visits, with a localizer and a T2 each."""
    root = tmp_path_factory.mktemp("exported")
    for number in range(8):
        who = {"patient": f"H{number % 6}", "study": f"1.2.8.{number}", "offset": number, "rows": 10, "columns": 9}
        for place, (sequence, fields) in enumerate(
            (
                ("T1", {}),
                ("STIR", {}),
                ("T1", {"slices": 3}),
                ("T2", {"extra": {"RepetitionTime": 4000, "EchoTime": 90}}),
            )
        ):
            series = {"series": f"1.2.8.{number}.{place}", "slices": 4, "prefix": f"{number}{place}-"} | fields
            make.Series(sequence, **who, **series).write(root)
    return [(file.name, file.read_bytes()) for file in sorted(root.iterdir())]


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_order_names_and_folders_of_an_export_change_nothing(
    exported: Any, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Files permuted, copied, renamed and nested anew give the same voxels, subjects and splits."""
    rng = np.random.default_rng(seed)
    results = []
    for again in (False, True):
        root = tmp_path_factory.mktemp("property") / "in"
        for place in rng.permutation(len(exported)) if again else range(len(exported)):
            for copy in range(1 + (again and rng.random() < 0.1)):
                name = f"{rng.integers(1e9)}{copy}" if again else exported[place][0]
                folder = root.joinpath(*(f"d{rng.integers(3)}" for _ in range(rng.integers(3) if again else 0)))
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(exported[place][1])
        lines = [f"1.2.8.{number},{reader},{number % 2}" for number in range(8) for reader in "12"]
        (root / "opinions.csv").write_text("\n".join(["patient,reader,asas_positive", *lines]))
        cohort = curated(root, detection_split=(4, 1, 1))
        images = {file.relative_to(cohort.path): file.read_bytes() for file in cohort.path.rglob("*.nii.gz")}
        results.append((images, cohort.splits.to_csv(), list(cohort.participants["subject"])))
    assert len(results[0][0]) == 16 and results[0] == results[1]


def test_no_name_leaves_the_disk(make: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Names in headers, private tags, files, folders, tables, zips, NIfTI: in no byte that curation writes or says."""
    from axspa_lib.cli import main

    name = "Zorglub"
    both = {"edit": plant, "description": f"t1 {name}"}
    source = tmp_path / f"{name}_1944"
    for number, folder in enumerate((f"{name}^Anna 19441231", f"{name.upper()}_ANNA", "export")):
        at = source / folder
        for sequence in ("T1", "STIR"):
            series = make.Series(sequence, prefix=f"{name}{sequence}", offset=number, study=f"1.{number}", **both)
            series.write(at / (sequence if folder != "export" else f"{name} {sequence}"))
    with zipfile.ZipFile(source / f"{name}.zip", "w") as archive:
        for file in sorted((source / "export").rglob("*")):
            archive.write(file, f"{name}/{file.name}") if file.is_file() else None
    damaged = next((source / "export").rglob("*STIR0*"))
    damaged.write_bytes(damaged.read_bytes()[:900])
    (source / f"{name}.nii.gz").write_bytes(b"nothing")
    rows = [f"{name}^Anna 19441231,1,2,L,iliac_upper,1", f"{name},1,2,L,iliac_upper,1"]
    (source / "readings.csv").write_text("\n".join(["patient,reader,slice,side,quadrant,inflammation", *rows]))
    (source / "patients.csv").write_text(f"patient,subject,centre\n{name}^Anna 19441231,{name}^Anna,C1\n")
    (source / "truth").mkdir()
    (source / "truth" / f"{name.upper()}_ANNA_bones.nii.gz").write_bytes(b"no mask")
    for more in ([], ["--dry-run"]):
        main(["curate", str(source), str(tmp_path / "out" / "lab"), "--workers", "1", "--no-splits", *more])
    said = capfd.readouterr()
    text = [said.out, said.err]
    for file in (tmp_path / "out" / "lab").rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        content = gzip.decompress(content) if file.suffix == ".gz" else content
        text.append(f"{file.name} {content.decode('latin-1')}")
    assert "P0001" in text[0] and "reference" in text[0]
    for secret in SECRETS:
        assert secret.lower() not in "\n".join(text).lower(), secret


@pytest.mark.parametrize("kind", ["zips only", "zip beside a folder", "zip in a folder", "nested zip", "zip of NIfTI"])
def test_zips_are_read(make: Any, tmp_path: Path, kind: str) -> None:
    source, packed = tmp_path / "in", tmp_path / "packed"
    make.pair(packed / "P1")
    source.mkdir()
    if kind == "zip in a folder":
        for sequence in ("T1", "STIR"):
            (source / "P1" / sequence).mkdir(parents=True)
            shutil.make_archive(str(source / "P1" / sequence / "images"), "zip", packed / "P1" / sequence)
    elif kind == "zip of NIfTI":
        cohort = curated(packed)
        for name, sequence in (("P1_T1", "T1w"), ("P1_STIR", "T2w")):
            shutil.copy(next(cohort.path.rglob(f"*{sequence}.nii.gz")), tmp_path / f"{name}.nii.gz")
        with zipfile.ZipFile(source / "a.zip", "w") as archive:
            for file in tmp_path.glob("*.nii.gz"):
                archive.write(file, file.name)
    else:
        shutil.make_archive(str(source / "P1"), "zip", packed)
        if kind == "nested zip":
            with zipfile.ZipFile(source / "all.zip", "w") as archive:
                archive.write(source / "P1.zip", "P1.zip")
            (source / "P1.zip").unlink()
        if kind == "zip beside a folder":
            make.pair(source / "P2", {"offset": 9}, {"offset": 9})
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    cohort = curated(source)
    assert_ramp(make, cohort.volume("P0001", "T1"))
    assert len(cohort.patients) == 1 + (kind == "zip beside a folder") and not list(source.rglob("P1 unpacked"))


def test_what_is_not_used_is_named(make: Any, tmp_path: Path) -> None:
    make.pair(tmp_path / "in" / "P1")
    (tmp_path / "in" / "P1" / "mask.nii.gz").write_bytes(b"a mask")
    (tmp_path / "in" / "bad.zip").write_bytes(b"PK, or not")
    (tmp_path / "in" / "more.tar.gz").write_bytes(b"something")
    (tmp_path / "in" / "__MACOSX" / "P1").mkdir(parents=True)
    (tmp_path / "in" / "__MACOSX" / "P1" / "._I1").write_bytes(b"\0\5\x16\7" * 30)
    (tmp_path / "in" / "patients.csv").write_text("patient,subject,centre\nP1,S1,Lille\nP9,S9,\n")
    (tmp_path / "in" / "truth").mkdir()
    (tmp_path / "in" / "truth" / "P9_bones.nii.gz").write_bytes(b"")
    cohort = curated(tmp_path / "in")
    assert cohort.patients == ["P1"] and list(cohort.everyone["patient"]) == ["P1"]
    notes = " ".join([*cohort.curation["notes"], cohort.participants["notes"][0]])
    for said in (
        "1 of 1 zips",
        "1 rows of patients.csv",
        "1 masks in truth/",
        "1 archives",
        "1 files beside T1 and STIR",
    ):
        assert said in notes


@pytest.mark.parametrize("kind", ["screenshot", "presentation state", "drawn as MR"])
def test_what_is_no_scan_is_skipped(make: Any, tmp_path: Path, kind: str) -> None:
    make.pair(tmp_path / "in" / "P1")
    ds = make.Series("T1", patient="P1").dataset(0)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(ds, keyword)
    if kind == "drawn as MR":
        ds.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
    else:
        state = "1.2.840.10008.5.1.4.1.1.11.1" if kind.startswith("p") else "1.2.840.10008.5.1.4.1.1.7"
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = state
    make.save(ds, tmp_path / "in" / "P1" / "T1" / "I9001")
    cohort = curated(tmp_path / "in")
    assert_ramp(make, cohort.volume("P0001", "T1"))
    assert "T1: 1 other files skipped" in cohort.participants["notes"][0]


def test_philips_states_the_inversion_time_in_a_tag_of_its_own(make: Any, tmp_path: Path) -> None:
    def philips(ds: Any, index: int) -> Any:
        del ds.InversionTime
        ds.ScanningSequence = "SE"
        ds.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x1B, "FL", 165.0)
        return ds

    make.Series("T1").write(tmp_path / "in")
    make.Series("STIR", prefix="S", edit=philips).write(tmp_path / "in")
    assert curated(tmp_path / "in").sidecar("P0001", "STIR")["InversionTime"] == 0.165


def test_t1_and_stir_in_two_studies_are_one_examination(make: Any, tmp_path: Path) -> None:
    make.Series("T1", study="1.2.3.1").write(tmp_path / "in")
    make.Series("STIR", study="1.2.3.2", prefix="S").write(tmp_path / "in")
    cohort = curated(tmp_path / "in")
    assert list(cohort.everyone["patient"]) == ["P0001"] and cohort.patients == ["P0001"]


def test_a_dry_run_says_why(make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make.pair(tmp_path / "in" / "P1", {}, {"extra": {"ScanningSequence": "GR"}})
    curate(open_source(tmp_path / "in"), tmp_path / "out", seed=0, bones_split=None, detection_split=None, dry_run=True)
    assert "P0001: images: STIR: the series of this folder is none: gradient echo" in capsys.readouterr().out


def test_one_identifier_for_everybody_is_a_placeholder(make: Any, tmp_path: Path) -> None:
    for number in range(5):
        for sequence in ("T1", "STIR"):
            fields = {
                "patient": "RESEARCH",
                "study": f"1.2.{number}",
                "prefix": f"{sequence}{number}-",
                "offset": number,
            }
            make.Series(sequence, **fields).write(tmp_path / "in")
    cohort = curated(tmp_path / "in")
    assert cohort.participants["subject"].nunique() == 5 and set(cohort.exclusions["stage"]) == {"people"}
