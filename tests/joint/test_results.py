"""Stored joint regions judged against regions, joint spaces and areas that are known by construction."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from axspa_lib.bones import results as bones_results
from axspa_lib.curation.curate import curate
from axspa_lib.joint import results as joint_results
from axspa_lib.joint.algorithm1 import extract_joints
from axspa_lib.joint.figures import judged_sheet, quality_by_position, sensitivities
from axspa_lib.study import config
from axspa_lib.study.config import Joint
from axspa_lib.study.overrides import parse_yaml
from axspa_lib.study.results import Run
from axspa_lib.study.runs import write_json
from axspa_lib.study.volume import write_volume
from tests.bones.test_variants import Made

PROFILE = """
made:
  cohorts: [vhi]
  bone_variants: [single]
  bones: {split: [2, 1, 3]}
"""
PARAMS = Joint(dilation_radius=3, closing_radius=2, contact_fraction=0.1)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Six annotated patients, three of them held out, whose bones are predicted without an error but for one ilium."""
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    monkeypatch.setattr(config, "profiles", lambda: parse_yaml(PROFILE))
    results = Run("made")
    curate(Made(range(6)), results.layout.cohort("vhi"), seed=1, bones_split=(2, 1, 3), detection_split=None)
    folder = results.layout.segmentation("vhi", 1)
    write_json(folder / "run.json", {})
    cohort, first = results.cohort(), joint_results.held_out(results)[0]
    truth = cohort.path / "derivatives" / "truth"
    truth.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in cohort.patients:
        bones = cohort.reference_bones(name)
        assert bones is not None
        predicted = bones.array.copy()
        if name == first:
            predicted[2, :, :36][predicted[2, :, :36] == 2] = 0  # the ilium on the image's left, the patient's right
        write_volume(folder / f"{name}_desc-bones_dseg.nii.gz", bones.like(predicted))
        write_volume(folder / f"{name}_desc-joint_dseg.nii.gz", extract_joints(bones.like(predicted), PARAMS))
        write_volume(
            truth / f"{name}_desc-joint_dseg.nii.gz",
            extract_joints(bones, PARAMS.model_copy(update={"dilation_radius": 1})),
        )
        rows.append((name, "predicted", 4, int(name == first) * 2, name != first))
    columns = ["patient", "source", "half_slices", "missed", "accepted"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "increment.csv", index=False)
    return results


def test_regions_are_compared_where_the_reference_has_them(stored: Run) -> None:
    table = joint_results.joint_quality(stored, PARAMS, joint_results.held_out(stored))
    first, *others = joint_results.held_out(stored)
    assert len(others) == 2 and len(table) == 3 * 4 * 2 and set(table["patient"]) == {first, *others}
    assert not table[table["slice"] == 0][["expected", "found"]].any(axis=None)  # no sacrum: no joint
    assert table[table["slice"] > 0]["expected"].all()
    missed = table[table["expected"] & ~table["found"]]
    assert missed[["patient", "slice", "side", "dice", "covered"]].to_numpy().tolist() == [[first, 2, "R", 0.0, 0.0]]
    right = table[table["found"]]
    assert set(right["dice"]) == {1.0} and (right["covered"] > 0.95).all()
    assert table["position"].min() == 0 and table["position"].max() == 1
    quality_by_position(table, "phantom", bins=4).savefig(BytesIO())


def test_sensitivity_agrees_with_the_regions_themselves(stored: Run) -> None:
    table = joint_results.sensitivity(stored, PARAMS, joint_results.held_out(stored), every=1).set_index(
        ["parameter", "value"]
    )
    names = joint_results.held_out(stored)
    regions = np.stack([extract_joints(bones_results.bones(stored, name), PARAMS).array for name in names])
    pixels = [(regions[p, s] == side).sum() for p in range(3) for s in range(4) for side in (1, 2)]
    assert table.loc[("dilation_radius", 3), "area_mm2"] == pytest.approx(np.mean([n for n in pixels if n]))
    assert table.loc[("dilation_radius", 3), "lost"] == 0
    areas = table.loc["dilation_radius", "area_mm2"]
    assert areas.is_monotonic_increasing and areas.iloc[-1] > 2 * areas.iloc[0]
    assert set(table.index.get_level_values(0)) == set(joint_results.TRIED) <= set(Joint.model_fields)
    sensitivities(table.reset_index(), PARAMS.model_dump(), "phantom").savefig(BytesIO())


def test_refused_examinations_are_shown_first_and_framed(stored: Run) -> None:
    cases = joint_results.candidates(stored)
    first = joint_results.held_out(stored)[0]
    assert [case.accepted for case in cases] == [False] + [True] * 5
    assert cases[0].patient == first and cases[0].missed == 2
    figure = judged_sheet(cases, "phantom", columns=4)
    assert figure.axes[0].get_title() == f"{first}, refused (2 missed)" and len(figure.axes[0].patches) == 1
    assert not figure.axes[1].patches
    figure.savefig(BytesIO())


def test_figures_without_images_say_which_command_makes_them(stored: Run) -> None:
    for path in stored.cohort().path.glob("sub-*/**/*_T1w.nii.gz"):
        path.unlink()
    assert joint_results.held_out(stored) == [] and joint_results.candidates(stored) == []
    figures = [
        quality_by_position(joint_results.joint_quality(stored, PARAMS, []), "phantom"),
        sensitivities(joint_results.sensitivity(stored, PARAMS, []), PARAMS.model_dump(), "phantom"),
        judged_sheet([], "phantom"),
    ]
    assert all("make book PROFILE" in figure.axes[0].texts[0].get_text() for figure in figures)
