"""Readers: the rule itself, the window, and their agreement over many patients without an image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from axspa_lib.phantom.examination import draw_examination
from axspa_lib.phantom.readers import Panel, panel, read_patient
from axspa_lib.realism import reader_calibration as calibration
from axspa_lib.study.config import PhantomCohort
from axspa_lib.study.errors import ConfigError
from axspa_lib.study.labels import READERS_ASAS, READERS_DESIR

SILENT = Panel(("1", "2"), np.array([2.0, 4.0]), np.array([1.0, 1.0]), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.7, -9.0)
PRESENT = np.ones((14, 2), bool)


def evidence(worth: float) -> np.ndarray:
    out = np.zeros((1, 14, 2, 4))
    out[0, 6:8, 1, 2] = worth
    return out


@pytest.mark.parametrize(("worth", "marks"), [(np.exp(1.9), (0, 0)), (np.exp(2.1), (2, 0)), (np.exp(4.1), (2, 2))])
def test_without_noise_a_reader_marks_what_exceeds_the_threshold(worth: float, marks: tuple[int, int]) -> None:
    reading = read_patient(evidence(worth), PRESENT, SILENT, np.random.default_rng(0))
    assert tuple(reading.marks.any(-1).sum((1, 2))) == marks
    assert tuple(reading.positive) == tuple(count >= 2 for count in marks)
    assert reading.marks[..., [0, 1, 3]].sum() == 0  # only the quadrant that holds the lesion


def test_a_lone_mark_gets_a_second_only_when_the_whole_convinces() -> None:
    uneven = evidence(0)
    uneven[0, 6, 1, 2], uneven[0, 7, 1, 2] = np.exp(2.2), np.exp(1.9)  # the second slice is just below the threshold
    for gestalt, count in ((0.5, 2), (3.0, 1)):
        reading = read_patient(uneven, PRESENT, replace(SILENT, gestalt=gestalt), np.random.default_rng(0))
        assert reading.marks[0].any(-1).sum() == count
    both = read_patient(evidence(np.exp(2.1)), PRESENT, replace(SILENT, gestalt=3.0), np.random.default_rng(0))
    assert both.marks[0].any(-1).sum() == 1  # two faint marks, not convincing together: one is withdrawn


def test_six_consecutive_slices_are_read_and_the_rest_is_not_negative_but_absent() -> None:
    noisy = replace(SILENT, sigma_window=3.0)
    for seed in range(20):
        reading = read_patient(evidence(0), PRESENT, noisy, np.random.default_rng(seed))
        for read in reading.read:
            slices = np.flatnonzero(read.any(1))
            assert len(slices) == 6 and slices[-1] - slices[0] == 5
        readings, _ = reading.rows("P", SILENT.names)
        assert len(readings) == 2 * 6 * 2 * 4


def test_half_slices_without_joint_are_not_read() -> None:
    present = PRESENT.copy()
    present[:7, 0] = False
    reading = read_patient(evidence(0), present, SILENT, np.random.default_rng(0))
    assert not reading.read[:, :7, 0].any() and reading.read[:, 7, 0].any()


def test_a_lapse_marks_one_quadrant_at_its_rate() -> None:
    slipping = replace(SILENT, lapse=0.1)
    share = [read_patient(evidence(0), PRESENT, slipping, np.random.default_rng(k)).marks for k in range(60)]
    marks = np.stack(share)
    read = 12 * 2 * 60
    assert marks.any(-1).sum() / read == pytest.approx(0.1, abs=0.03)
    assert (marks.sum(-1) <= 1).all()


def test_an_impossible_panel_is_refused() -> None:
    with pytest.raises(ConfigError, match="spreads"):
        replace(SILENT, sigma_image=-1.0)
    with pytest.raises(ConfigError, match="no readers"):
        panel("phantom-mars")


def test_the_panels_are_those_of_the_paper() -> None:
    assert panel("phantom-desir").names == READERS_DESIR
    assert panel("phantom-asas").names == READERS_ASAS


def test_a_batch_reads_as_the_patients_do_one_by_one() -> None:
    spec = PhantomCohort(patients=12)
    batch = calibration.simulate_batch("phantom-desir", spec, 4, 12)
    outcome = calibration.read_batch(batch, panel("phantom-desir"))
    for k in range(12):
        single = draw_examination("phantom-desir", spec, 4, k + 1).reading
        n = single.read.shape[1]
        assert np.array_equal(outcome.half[k, :, :n], single.marks.any(-1))
        assert np.array_equal(outcome.positive[k], single.positive)


@pytest.fixture(scope="module")
def desir() -> pd.DataFrame:
    """4500 patients that the readers were not calibrated on."""
    spec, readers = PhantomCohort(patients=1500), panel("phantom-desir")
    batches = [calibration.simulate_batch("phantom-desir", spec, seed, 1500) for seed in (101, 102, 103)]
    outcomes = [calibration.read_batch(batch, readers) for batch in batches]
    longest = max(outcome.half.shape[2] for outcome in outcomes)

    def join(name: str) -> np.ndarray:
        stacks = [getattr(outcome, name) for outcome in outcomes]
        return np.concatenate([np.pad(a, [(0, 0), (0, 0), (0, longest - a.shape[2]), (0, 0)]) for a in stacks])

    positive = np.concatenate([outcome.positive for outcome in outcomes])
    table = calibration.agreement(calibration.Outcome(join("half"), join("read"), positive), readers.names)
    return calibration.beside_published("phantom-desir", table)


def test_patient_agreement_is_the_published_one(desir: pd.DataFrame) -> None:
    assert (desir["patient"] - desir["published_patient"]).abs().max() < 0.03


def test_half_slice_agreement_on_unanimous_patients_is_the_published_one(desir: pd.DataFrame) -> None:
    assert (desir["half_slice"] - desir["published_half_slice"]).abs().max() < 0.03


def test_asas_readers_span_the_published_range() -> None:
    spec = PhantomCohort(patients=1500, prevalence=0.25, misregistered=0, lacking_slices=0)
    table = calibration.calibration_table("phantom-asas", spec, seed=101, patients=1500)
    assert table["patient"].min() == pytest.approx(0.55, abs=0.05)
    assert table["patient"].max() == pytest.approx(0.91, abs=0.05)
