"""The truth volumes against what the readers were given, the table of lesions, and a second examination."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from axspa_lib.phantom import examination
from axspa_lib.phantom.cohort import simulate_cohort
from axspa_lib.phantom.examination import Examination
from axspa_lib.phantom.person.disease import ACTIVE, FollowUp
from axspa_lib.study.config import PhantomCohort
from axspa_lib.study.labels import LEFT, SIDES, Bone
from axspa_lib.study.volume import Volume, read_volume

SPEC = PhantomCohort(patients=3, prevalence=1.0, misregistered=0.0, lacking_slices=0.0)
SEED = 28


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three simulated patients, all inflamed."""
    folder = tmp_path_factory.mktemp("inflamed")
    simulate_cohort("phantom-desir", SPEC, SEED, folder)
    return folder


def patients(source: Path):  # type: ignore[no-untyped-def]
    """Examination, its lesions as a table, truth volumes of lesions, bones and joint."""
    table = pd.read_csv(source / "truth" / "lesions.csv")
    for number in range(1, SPEC.patients + 1):
        exam = examination.draw_examination("phantom-desir", SPEC, SEED, number)
        volumes = [
            read_volume(source / "truth" / f"{exam.patient}_{name}.nii.gz") for name in ("lesions", "bones", "joint")
        ]
        yield exam, table[table["patient"] == exam.patient], *volumes


def test_the_table_has_the_volumes_and_slices_of_the_truth(source: Path) -> None:
    for _, table, lesions, _, _ in patients(source):
        voxel = float(np.prod(lesions.spacing))
        for row in table.to_dict("records"):
            inside = lesions.array == row["lesion"]
            assert row["volume_mm3"] == pytest.approx(inside.sum() * voxel, abs=0.02 * voxel + 0.01)
            slices = np.flatnonzero(inside.any((1, 2)))
            found = (slices[0], slices[-1]) if slices.size else (-1, -1)
            assert (row["first_slice"], row["last_slice"]) == found


def test_quadrants_are_where_the_truth_has_the_lesion(source: Path) -> None:
    """Bone by the bone mask, side by the joint beside it, upper or lower by its height against the joint's middle."""
    judged = 0
    for _, table, lesions, bones, joint in patients(source):
        for row in table[table["type"].isin(ACTIVE)].to_dict("records"):
            inside = lesions.array == row["lesion"]
            if inside.sum() * np.prod(lesions.spacing) < 150:
                continue
            bone, height = row["quadrant"].split("_")
            assert (bones.array[inside] == (Bone.ILIAC if bone == "iliac" else Bone.SACRUM)).mean() > 0.6, row
            columns = np.nonzero(inside)[2]
            assert (columns.mean() > inside.shape[2] / 2) == (row["side"] == LEFT), row
            offset = _height_mm(inside, joint, 1 + SIDES.index(row["side"]))
            if offset is not None and abs(offset) > 6:
                assert (offset < 0) == (height == "upper"), row
                judged += 1
    assert judged >= 5


def _height_mm(inside: np.ndarray, joint: Volume, side: int) -> float | None:
    """Mean row of a lesion minus the middle row of the joint on the same slices, mm; None without a joint there."""
    offsets = []
    for k in np.flatnonzero(inside.any((1, 2))):
        rows = np.nonzero(joint.array[k] == side)[0]
        if rows.size:
            offsets.append(np.nonzero(inside[k])[0].mean() - (rows.min() + rows.max()) / 2)
    return float(np.mean(offsets)) * joint.spacing[1] if offsets else None


def test_what_readers_are_given_is_the_area_in_the_truth(source: Path) -> None:
    """Area of active lesions times excess contrast, voxel by voxel, against the evidence; where there is a joint."""
    given, counted, marked = [], [], []
    for exam, table, lesions, _, _ in patients(source):
        pixel = lesions.spacing[1] * lesions.spacing[2]
        area = np.zeros(exam.present.shape)
        for row in table[table["type"].isin(ACTIVE)].to_dict("records"):
            side = SIDES.index(row["side"])
            area[:, side] += (lesions.array == row["lesion"]).sum((1, 2)) * pixel * max(row["contrast"] - 1, 0)
        given.append(exam.evidence.sum((0, 3))[exam.present])
        counted.append(area[exam.present])
        marked.append(exam.reading.marks.any(-1).all(0)[exam.present])
    evidence, truth, all_readers = map(np.concatenate, (given, counted, marked))
    assert np.corrcoef(evidence, truth)[0, 1] > 0.9
    assert (truth[evidence > 20] > 0).mean() > 0.95  # nothing worth marking is missing from the truth
    assert all_readers.sum() >= 5 and (truth[all_readers] > 0).mean() > 0.9  # what all mark is there


def quiet(exam: Examination) -> Examination:
    """The same examination on a scanner without noise and ghosts."""
    channels = {name: replace(getattr(exam.protocol, name), noise=0.0, ghost=0.0) for name in ("t1", "stir")}
    return replace(exam, protocol=replace(exam.protocol, **channels))


def test_a_second_examination_differs_in_its_voxels_by_the_change_only() -> None:
    """Without noise: equal where nothing changed, less STIR signal where inflammation was cleared."""
    first = quiet(examination.draw_examination("phantom-desir", SPEC, SEED, 1))
    same, cleared = (quiet(examination.follow_up("phantom-desir", first, FollowUp(change))) for change in (1.0, 0.0))
    before, again, after = (examination.render(exam) for exam in (first, same, cleared))
    for sequence in ("T1", "STIR"):
        assert np.array_equal(before.pixels[sequence], again.pixels[sequence])
    assert np.array_equal(before.lesions, again.lesions)
    numbers = [n for n, lesion in enumerate(first.lesions, 1) if lesion.type in ACTIVE]
    active = np.isin(before.lesions, numbers)
    assert active.any() and not np.isin(after.lesions, numbers).any()
    change = before.pixels["STIR"].astype(float) - after.pixels["STIR"]
    assert np.median(change[active]) > 0
    spacing = (first.protocol.spacing, first.protocol.pixel, first.protocol.pixel)
    far = ndimage.distance_transform_edt(~active, sampling=spacing) > 15
    scale = np.percentile(before.pixels["STIR"], 90)
    assert np.abs(change[far]).max() < 0.03 * scale  # what is left is the ringing of the scanner


def test_the_sacrum_is_drawn_as_the_public_masks_are(source: Path) -> None:
    """Below the first foramina the middle is no sacrum; S1 above them is, and so are both lateral masses beside it."""
    judged = 0
    for exam, _, _, bones, _ in patients(source):
        protocol, body = exam.protocol, exam.body
        corner = np.array(protocol.centre_xy) - protocol.fov / 2
        for k, z in enumerate(protocol.depths()):
            depth = body.depth(float(z))
            if not 8 < depth < 14:
                continue
            points = body.place(np.array([[0.0, 6.0], [0.0, 34.0], [40.0, 34.0], [-40.0, 34.0]]), depth)
            columns, rows = np.rint((points - corner) / protocol.pixel).astype(int).T
            found = bones.array[k][rows, columns] == Bone.SACRUM
            assert found.tolist() == [True, False, True, True], (exam.patient, k)
            judged += 1
    assert judged >= 3
