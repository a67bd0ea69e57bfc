"""Measurements against images whose contrast, noise, shading and sharpness are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from axspa_lib.realism.contrast import Pair, compare, measure, support
from axspa_lib.realism.real_scans import pair_of_dicom, pair_of_vhi
from axspa_lib.study.errors import DataError

N = 160
SPACING = (4.0, 1.0, 1.0)


def scan(noise: float = 0.0, blur: float = 1.0) -> Pair:
    """Muscle 100 with psoas 96, fat 250, CSF 80, marrow 170 with oedema 140; on STIR 50, 45, 70, 400, 80 and 120."""
    t1, stir = np.full((10, N, N), 250.0), np.full((10, N, N), 70.0)
    t1[:, 90:150], stir[:, 90:150] = 100, 50
    for columns in (slice(30, 62), slice(98, 130)):
        t1[:, 15:55, columns], stir[:, 15:55, columns] = 96, 45
    t1[5:, 20:80, 76:84], stir[5:, 20:80, 76:84] = 80, 400
    marrow, oedema = np.zeros((10, N, N), bool), np.zeros((10, N, N), bool)
    marrow[2:8, 60:80, 10:40], oedema[3:6, 62:70, 120:135] = True, True
    t1[marrow], stir[marrow], t1[oedema], stir[oedema] = 170, 80, 140, 120
    rng = np.random.default_rng(0)
    for image in (t1, stir):
        for plane in image:
            plane[:] = ndimage.gaussian_filter(plane, blur)
        image += noise * rng.standard_normal(image.shape)
    return Pair(t1.astype(np.float32), stir.astype(np.float32), SPACING, marrow, oedema)


def test_contrast_of_a_known_scan() -> None:
    found = measure(scan(blur=0.7))
    expected = {"T1_muscle": 0.96, "T1_fat": 2.5, "T1_csf": 0.8, "T1_marrow": 1.7, "T1_oedema": 140 / 170,
                "STIR_muscle": 0.9, "STIR_fat": 1.4, "STIR_csf": 8.0, "STIR_marrow": 1.6,
                "STIR_oedema": 1.5}  # fmt: skip
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=0.06), name


def test_noise_is_that_which_was_added() -> None:
    assert measure(scan(noise=5.0))["T1_noise"] == pytest.approx(0.05, rel=0.1)


def test_blur_widens_the_edge() -> None:
    sharp, soft = (measure(scan(blur=blur))["T1_edge"] for blur in (1.0, 1.8))
    assert soft / sharp == pytest.approx(1.8, rel=0.3)


def test_zero_filling_is_seen_in_k_space() -> None:
    rng = np.random.default_rng(1)
    full = ndimage.gaussian_filter(rng.standard_normal((3, 128, 128)), (0, 0.5, 0.5))
    spectrum = np.fft.fft2(full)
    spectrum[:, np.abs(np.fft.fftfreq(128)) > 0.3, :] = 0
    rows, columns = support(np.fft.ifft2(spectrum).real.astype(np.float32))
    assert rows == pytest.approx(0.6, abs=0.05) and columns == 1.0


def test_compare_says_what_is_in_range() -> None:
    table = compare(pd.DataFrame({"T1_fat": [2.4, 2.4]}), pd.DataFrame({"T1_fat": [2.0, 2.5, 3.0]}))
    row = table.iloc[0]
    assert row["in_range"] and row["relative"] == pytest.approx(-0.04)


def test_unregistered_stacks_and_empty_images_are_refused() -> None:
    with pytest.raises(DataError, match="not one registered stack"):
        Pair(np.zeros((3, 4, 4), np.float32), np.zeros((2, 4, 4), np.float32), SPACING)
    with pytest.raises(DataError, match="no muscle"):
        measure(Pair(np.zeros((3, 64, 64), np.float32), np.zeros((3, 64, 64), np.float32), SPACING))


@pytest.mark.real
def test_a_real_scan_measures_as_by_hand(real_data) -> None:  # type: ignore[no-untyped-def]
    """Scan 1007 with hand-placed regions: deep fat 2.47 and 1.71, marrow 1.71, oedema over marrow 1.53."""
    found = measure(pair_of_vhi(real_data / "vhi", "1007"))
    assert found["T1_fat"] == pytest.approx(2.47, rel=0.2) and found["STIR_fat"] == pytest.approx(1.71, rel=0.2)
    assert found["T1_marrow"] == pytest.approx(1.71, rel=0.2)
    assert found["STIR_oedema"] == pytest.approx(1.53, rel=0.15)


@pytest.mark.real
def test_the_public_dicom_patient_is_measured_too(real_data) -> None:  # type: ignore[no-untyped-def]
    found = measure(pair_of_dicom(real_data / "iaxspa-demo" / "Patient1"))
    assert found["STIR_csf"] > 5 and np.isnan(found["T1_marrow"])
