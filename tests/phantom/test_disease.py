"""Lesions: their evidence, their truth, and that nothing changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from axspa_lib.phantom.drawing.texture import Grid
from axspa_lib.phantom.examination import object_grid
from axspa_lib.phantom.person import disease
from axspa_lib.phantom.person.anatomy import Body, population, template
from axspa_lib.phantom.person.disease import FollowUp, Lesion
from axspa_lib.phantom.physics.scanner import Protocol
from axspa_lib.phantom.scene import Scene
from axspa_lib.study.errors import ConfigError
from axspa_lib.study.labels import LEFT, QUADRANTS, SIDES, Bone

LESION = Lesion("oedema", LEFT, "iliac", 0.3, 17.0, 9.0, 10.0, 7.0, 1.0, ragged=0.0, seed=1)


def test_evidence_is_area_times_excess_contrast_by_hand(body: Body) -> None:
    found = disease.evidence([LESION], body, np.array([17.0]), thickness=0.0)
    area = 0.5 * np.pi * 10.0 * 7.0
    excess = disease.contrast(LESION, body.subject.marrow_ff) - 1
    assert found.shape == (1, 1, 2, 4)
    assert found.sum() == pytest.approx(area * excess)
    side, upper, lower = SIDES.index(LEFT), QUADRANTS.index("iliac_upper"), QUADRANTS.index("iliac_lower")
    assert found[0, 0, side, upper] > found[0, 0, side, lower] >= 0
    assert found[0, 0, 1 - side].sum() == 0


def test_structural_damage_is_no_evidence(body: Body) -> None:
    found = disease.evidence([replace(LESION, type="sclerosis")], body, np.array([17.0]), 4.0)
    assert found.shape[0] == 0


def test_full_oedema_is_as_bright_as_published(body: Body) -> None:
    """On the reference STIR (4000/60/150 at 1.5 T) oedema over marrow is 2.22 / 1.19 in the published table."""
    assert disease.contrast(LESION, 0.5) == pytest.approx(2.22 / 1.19, rel=0.05)


@pytest.mark.parametrize("change", [{"along": 0.0}, {"depth": 0.0}, {"half_z": 0.0}, {"strength": 0.0}])
def test_a_lesion_of_size_zero_changes_no_voxel(body: Body, protocol: Protocol, change: dict[str, float]) -> None:
    grid = replace(object_grid(protocol), size=64, pixel=protocol.fov / 64)
    arguments = (grid, np.array([17.0]), 4.0, protocol.t1.sequence, protocol.stir.sequence)
    without = Scene(body, []).planes(*arguments)
    assert np.array_equal(Scene(body, [replace(LESION, **change)]).planes(*arguments), without)
    assert not np.array_equal(Scene(body, [LESION]).planes(*arguments), without)


def test_truth_has_the_volume_bone_side_and_quadrant_of_the_lesion(body: Body) -> None:
    grid = Grid(320, 0.6, -96.0, -60.0)
    depths = np.arange(4.0, 31.0, 1.0)
    bones, joint, lesions = Scene(body, [LESION]).truth(grid, depths)
    volume = (lesions == 1).sum() * grid.pixel**2
    # Half an ellipse whose square of size falls as 1 − (z/h)², cut where opacity falls below the level of the truth.
    whole = 0.5 * np.pi * LESION.along * LESION.depth * (4 / 3) * LESION.half_z
    assert 0.4 * whole < volume < 1.0 * whole
    inside = lesions == 1
    assert set(np.unique(bones[inside])) == {Bone.ILIAC}
    columns = np.nonzero(inside)[2]
    assert (grid.x[columns] > 0).all()
    rows_joint, rows_lesion = np.nonzero(joint[13] == 2)[0], np.nonzero(inside[13])[0]
    assert rows_lesion.mean() < rows_joint.mean()  # "iliac_upper"
    slices = np.flatnonzero(inside.any((1, 2)))
    assert depths[slices[0]] > LESION.z - LESION.half_z and depths[slices[-1]] < LESION.z + LESION.half_z


def test_follow_up_without_change_is_the_same_disease() -> None:
    assert disease.follow_up([LESION], FollowUp(1.0)) == [LESION]


def test_follow_up_can_clear_the_inflammation_and_grow_the_damage(body: Body) -> None:
    scar = replace(LESION, type="sclerosis")
    active, damage = disease.follow_up([LESION, scar], FollowUp(0.0, progression=0.44))
    assert disease.evidence([active], body, np.array([17.0]), 4.0).sum() == 0
    assert damage.along == pytest.approx(1.2 * scar.along)


@pytest.mark.parametrize("name", sorted(template().raw["variants"]))
def test_every_normal_variant_shows(body: Body, protocol: Protocol, name: str) -> None:
    part = template().raw["variants"][name]["parts"][0]
    depth = sum(part["z"]) / 2 * body.subject.size * body.subject.depth_scale
    grid = replace(object_grid(protocol), size=96, pixel=protocol.fov / 96)
    arguments = (grid, np.array([depth]), 1.0, protocol.t1.sequence, protocol.stir.sequence)
    plain, varied = (
        Scene(Body(replace(body.subject, variants=frozenset(v)), body.pose), []).planes(*arguments)
        for v in ([], [name])
    )
    changed = np.abs(plain - varied).max(0) > 0.02
    assert 0 < changed.sum() < 0.05 * changed.size


def test_the_rates_of_variants_name_the_ones_that_are_drawn() -> None:
    assert set(population()["subject"]["variants"]) == set(template().raw["variants"])


@pytest.mark.parametrize("values", [(-0.1,), (-5,), (float("nan"),), (float("inf"),), (0.5, -1.1)])
def test_an_impossible_change_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="negative"):
        FollowUp(*values)


@pytest.mark.parametrize("values", [{"type": "flare"}, {"depth": -1.0}, {"fat": 0.8, "sclerosis": 0.5}])
def test_impossible_lesions_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(LESION, **values)
