"""The classifier finds what was put in, ignores what does not count, and cannot tell equal things apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from axspa_lib.realism import classifier as likeness
from axspa_lib.study.errors import DataError

SPACING = (4.0, 1.0, 1.0)


def body(seed: int, blur: float = 0.8) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(6, 200, 200))
    texture = ndimage.gaussian_filter(noise, (0, blur, blur))
    return np.maximum(100 * (1 + 0.3 * texture / texture.std()), 0)


def stacks(count: int, blur_of_real: float):
    for n in range(count):
        yield f"P{n}", False, body(n), SPACING
        yield f"R{n}", True, body(100 + n, blur_of_real), SPACING


def test_features_do_not_depend_on_the_scale_of_the_scanner() -> None:
    plane = body(1)[0]
    first, second = likeness.features(plane, (1.0, 1.0)), likeness.features(7.5 * plane, (1.0, 1.0))
    assert first == pytest.approx(second, rel=1e-4)
    assert set(first) == set(likeness.FEATURES)


def test_blur_steepens_the_spectrum_and_calms_the_texture() -> None:
    sharp, soft = (likeness.features(body(2, blur)[0], (1.0, 1.0)) for blur in (0.8, 2.0))
    assert soft["spectrum_slope"] < sharp["spectrum_slope"] - 0.5
    assert soft["spectrum_fine"] < sharp["spectrum_fine"]
    assert soft["gradient"] < sharp["gradient"]


def test_stripes_are_streaks_and_mirrored_images_are_symmetric() -> None:
    stripes = 100 + 30 * np.sin(np.arange(200) / 2)[:, None] * np.ones(200)
    assert likeness.features(stripes, (1.0, 1.0))["streaks"] > 0.95
    plane = body(3)[0]
    assert likeness.features(plane + plane[:, ::-1], (1.0, 1.0))["symmetry"] > 0.9
    assert abs(likeness.features(plane, (1.0, 1.0))["symmetry"]) < 0.1


def test_a_blurred_kind_is_found_out_by_its_sharpness() -> None:
    verdict = likeness.judge(likeness.slice_table(stacks(6, blur_of_real=2.0)), folds=3)
    assert verdict.slices > 0.95 and verdict.patients == 1.0
    assert dict(verdict.groups.to_numpy())["power spectrum"] > 0.95
    assert len(likeness.by_patient(verdict.scores)) == 12 and set(verdict.scores["slice"]) == {2, 3, 4}
    told = likeness.compared(likeness.slice_table(stacks(6, blur_of_real=2.0)))
    assert told["auc"].is_monotonic_decreasing and told["auc"].iloc[0] > 0.95
    assert told.set_index("feature").loc["spectrum_fine", "looks_at"] == "power spectrum"


def test_equal_kinds_cannot_be_told_apart() -> None:
    verdict = likeness.judge(likeness.slice_table(stacks(12, blur_of_real=0.8)), folds=4)
    assert abs(verdict.slices - 0.5) < 0.25


def test_a_patient_is_never_on_both_sides() -> None:
    """Labels by chance but constant within a patient: memorising patients would give a high AUC, this must not."""
    rng = np.random.default_rng(5)
    identity = rng.normal(size=(24, len(likeness.FEATURES)))
    rows = [
        {"patient": f"P{p}", "real": p % 2 == 0, "slice": k} | dict(zip(likeness.FEATURES, identity[p], strict=True))
        for p in range(24)
        for k in range(5)
    ]
    assert likeness.judge(pd.DataFrame(rows), folds=4).slices < 0.8


def test_two_scans_of_a_person_are_never_on_both_sides() -> None:
    """As above, but the constant numbers belong to a person with two examinations."""
    rng = np.random.default_rng(5)
    identity = rng.normal(size=(24, len(likeness.FEATURES)))
    rows = [
        {"patient": f"P{p}-{visit}", "real": p % 2 == 0, "slice": k}
        | dict(zip(likeness.FEATURES, identity[p], strict=True))
        for p in range(24)
        for visit in "ab"
        for k in range(4)
    ]
    table = pd.DataFrame(rows)
    known = {name: name[:-2] for name in table["patient"]}
    apart, leaking = likeness.judge(table, folds=4, subjects=known).slices, likeness.judge(table, folds=4).slices
    assert apart < 0.8 < leaking


def test_small_empty_and_few_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"patient P1, slice .* does not cover"):
        likeness.slice_table([("P1", True, body(1)[:, :100], SPACING)])
    with pytest.raises(DataError, match="empty"):
        likeness.features(np.zeros((200, 200)), (1.0, 1.0))
    with pytest.raises(DataError, match="at least 5"):
        likeness.judge(likeness.slice_table(stacks(2, 2.0)))


def test_the_history_is_in_order_and_holds_shares() -> None:
    table = likeness.history()
    assert list(table.columns) == ["date", "change", "recipe", "sacrum", "iliac"]
    assert table["date"].is_monotonic_increasing and table[["sacrum", "iliac"]].stack().between(0, 1).all()
