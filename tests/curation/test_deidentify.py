"""Only numbers and terms of known vocabularies pass; text fields cannot carry anything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from axspa_lib.curation import deidentify as allow

SECRET = "Zorglub"


@settings(max_examples=60, deadline=None)
@given(field=st.sampled_from(allow.ACQUISITION), text=st.text(max_size=12))
@pytest.mark.filterwarnings("ignore")
def test_no_text_passes_through_any_acquisition_field(field: str, text: str) -> None:
    ds = Dataset()
    value: Any = f"{text}{SECRET}"
    try:
        setattr(ds, field, value)
        ds.ScanningSequence = ["SE", value]
    except Exception:
        return  # pydicom refuses to hold it
    assert SECRET not in str(allow.acquisition(ds))


def test_acquisition_in_bids_units() -> None:
    ds = Dataset()
    ds.RepetitionTime, ds.EchoTime, ds.InversionTime, ds.FlipAngle = "4000", "60", "150", "150"
    ds.MagneticFieldStrength, ds.Manufacturer, ds.ManufacturerModelName = (
        "3",
        "Philips Medical Systems",
        "Achieva dStream",
    )
    ds.ScanningSequence = ["SE", "IR", SECRET]
    assert allow.acquisition(ds) == {
        "RepetitionTime": 4.0,
        "EchoTime": 0.06,
        "InversionTime": 0.15,
        "FlipAngle": 150.0,
        "MagneticFieldStrength": 3.0,
        "ScanningSequence": ["SE", "IR"],
        "Manufacturer": "Philips",
        "ManufacturersModelName": "Achieva",
    }


def test_sidecars_of_others_are_filtered() -> None:
    fields = {
        "EchoTime": 0.06, "RepetitionTime": float("nan"), "FlipAngle": True, "Manufacturer": f"GE {SECRET}",
        "ScanningSequence": [SECRET, "SE"], "PatientName": SECRET, "AcquisitionTime": "10:31:00",
    }  # fmt: skip
    assert allow.clean_sidecar(fields) == {"EchoTime": 0.06, "Manufacturer": "GE", "ScanningSequence": "SE"}


def test_no_identifying_keyword_is_on_a_list_that_is_written() -> None:
    written = {*allow.GEOMETRY, *allow.ACQUISITION}
    for word in (
        "Patient" + "Name",
        "PatientID",
        "BirthDate",
        "Address",
        "Institution",
        "Operator",
        "Physician",
        "Accession",
    ):
        assert not [keyword for keyword in written if word in keyword]
    assert not [keyword for keyword in written if keyword.endswith(("Date", "Time")) and keyword not in
                ("RepetitionTime", "EchoTime", "InversionTime")]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("SIEMENS", "Siemens"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ("Genève imaging", ""),
        ("TOSHIBA_MEC", ""),
        ("Dr Siemens", ""),
        ("", ""),
    ],
)
def test_vendors_are_known_names_or_nothing(value: str, name: str) -> None:
    assert allow.vendor(value) == name
