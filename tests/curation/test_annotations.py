"""Tables as labs write them: encodings, separators, and every bad row with its own outcome."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axspa_lib.curation import annotations as tables
from axspa_lib.study.cohort import consensus
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import QUADRANTS

HEADER = "patient,reader,slice,side,quadrant,inflammation\n"
ROW = "P1,1,3,L,iliac_upper,1\n"


def clean(text: str, tmp_path: Path, readers: set[str] | None = None) -> tuple[pd.DataFrame, list[tables.Finding]]:
    (tmp_path / "readings.csv").write_text(HEADER + text, encoding="utf-8")
    return tables.clean_readings(tables.read_table(tmp_path / "readings.csv", tables.READINGS), ["P1", "P2"], readers)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_encodings_separators_and_line_ends(tmp_path: Path, encoding: str, separator: str) -> None:
    text = (HEADER.replace("patient", "Patient ") + "Hélène,1,3,L,iliac_upper,1\n").replace(",", separator)
    (tmp_path / "t.csv").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    table = tables.read_table(tmp_path / "t.csv", tables.READINGS)
    assert table is not None and table.loc[0, "patient"] == "Hélène" and len(table) == 1


def test_decimal_commas_and_words_are_understood(tmp_path: Path) -> None:
    text = (HEADER + "P1,1,#,left,Iliac upper,$\n").replace(",", ";").replace("#", "3,0").replace("$", "1,0")
    (tmp_path / "t.csv").write_text(text)
    table, findings = tables.clean_readings(tables.read_table(tmp_path / "t.csv", tables.READINGS), ["P1"])
    assert not findings
    assert table.to_dict("records") == [
        {"patient": "P1", "reader": "1", "slice": 3, "side": "L", "quadrant": "iliac_upper", "inflammation": 1}
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            b"patient,reader\nP1,1\n", "lacks the columns slice, side, quadrant, inflammation", id="columns-missing"
        ),
        pytest.param(
            HEADER.replace("patient", "Patienten-Nr").encode() + ROW.encode(),
            "lacks the column patient",
            id="column-renamed",
        ),
        pytest.param(b"", "is not a table", id="empty"),
        pytest.param(b"\x00\x01\x02\x00" * 40, "is not text", id="binary"),
        pytest.param(
            b"PK\x03\x04" + bytes(range(256)), "is not text|is not a table|lacks the columns", id="spreadsheet-not-csv"
        ),
    ],
)
def test_files_that_are_no_such_table(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "readings.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"readings.csv: .*({message})"):
        tables.read_table(tmp_path / "readings.csv", tables.READINGS)
    assert tables.read_table(tmp_path / "absent.csv", tables.READINGS) is None


@pytest.mark.parametrize(
    ("row", "reason", "excludes"),
    [
        pytest.param("P9,1,3,L,iliac_upper,1\n", "name a patient without images", False, id="unknown-patient"),
        pytest.param("P1,,3,L,iliac_upper,1\n", "name no reader", True, id="no-reader"),
        pytest.param("P1,8,3,L,iliac_upper,1\n", "reader unknown to opinions.csv", False, id="unknown-reader"),
        pytest.param("P1,1,-3,L,iliac_upper,1\n", "a slice that is no whole number", True, id="negative-slice"),
        pytest.param("P1,1,2.5,L,iliac_upper,1\n", "a slice that is no whole number", True, id="slice-between-slices"),
        pytest.param("P1,1,3,middle,iliac_upper,1\n", "a side that is neither", True, id="unknown-side"),
        pytest.param("P1,1,3,L,lumbar,1\n", "a quadrant that is none of", True, id="unknown-quadrant"),
        pytest.param("P1,1,3,L,sacral_upper,maybe\n", "neither 0 nor 1", True, id="neither-yes-nor-no"),
        pytest.param(ROW, "repeat another row", False, id="duplicate-row"),
        pytest.param("P1,1,3,L,iliac_upper,0\n", "contradict each other", True, id="contradictory-rows"),
    ],
)
def test_every_bad_row_has_its_outcome(tmp_path: Path, row: str, reason: str, excludes: bool) -> None:
    good = "P2,1,3,L,iliac_upper,1\n"
    table, findings = clean(ROW + good + row, tmp_path, {"1", "2"})
    assert len(findings) == 1 and reason in findings[0].reason and findings[0].excludes == excludes
    assert findings[0].patient == ("P9" if row.startswith("P9") else "P1") and findings[0].remedy
    assert (table["patient"] == "P2").sum() == 1  # the other patient is untouched


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from("LR"), st.sampled_from("123"), st.sampled_from(QUADRANTS)),
        unique=True,
        max_size=30,
    ),
    st.randoms(),
)
def test_half_slices_and_consensus_as_by_hand(keys: list[tuple[int, str, str, str]], random: object) -> None:
    rows = [("P", reader, z, side, quadrant, random.randint(0, 1)) for z, side, reader, quadrant in keys]  # type: ignore[attr-defined]
    table = pd.DataFrame(rows, columns=list(tables.READINGS)).astype({"slice": int, "inflammation": int})
    halves = tables.half_slices(table)
    by_hand: dict[tuple[int, str], dict[str, int]] = {}
    for _, reader, z, side, _, flag in rows:
        votes = by_hand.setdefault((z, side), {})
        votes[reader] = max(votes.get(reader, 0), flag)
    assert len(halves) == sum(len(votes) for votes in by_hand.values())
    agreed = {(r.slice, r.side): (r.inflammation, r.readers) for r in consensus(halves).itertuples()}
    expected = {
        key: (int(sum(votes.values()) * 2 > len(votes)), len(votes)) for key, votes in by_hand.items() if len(votes) > 1
    }
    assert agreed == expected


def test_opinions_agreement_and_majority() -> None:
    raw = pd.DataFrame(
        [
            ("A", 1, 1),
            ("A", 2, 1),
            ("A", 3, 1),
            ("B", 1, 1),
            ("B", 2, 0),
            ("B", 3, 1),
            ("C", 1, 0),
            ("D", 1, 0),
            ("D", 2, 1),
        ],
        columns=list(tables.OPINIONS),
    )
    opinions, findings = tables.clean_opinions(raw, list("ABCD"))
    assert not findings
    positive, excluded = tables.opinion_of(opinions, require_agreement=True)
    assert dict(positive) == {"A": True, "B": True, "C": False, "D": False}
    assert {f.patient: f.reason for f in excluded} == {
        "B": "readers disagree on the patient",
        "C": "only one reader gave an opinion",
        "D": "readers disagree on the patient",
    }
    assert tables.opinion_of(opinions, require_agreement=False)[1] == []


def test_two_inflamed_half_slices_make_a_patient_positive() -> None:
    agreed = pd.DataFrame(
        [("A", 1, "L", 1), ("A", 2, "R", 1), ("B", 1, "L", 1), ("B", 1, "R", 0)],
        columns=["patient", "slice", "side", "inflammation"],
    )
    assert dict(tables.positive_by_count(agreed)) == {"A": True, "B": False}


def test_tables_without_rows(tmp_path: Path) -> None:
    table, findings = clean("", tmp_path)
    assert table.empty and not findings and list(table.columns) == list(tables.READINGS)
    nobody, findings = tables.clean_opinions(pd.DataFrame(columns=list(tables.OPINIONS)), ["P1"])
    assert nobody.empty and not findings
    assert tables.half_slices(table).empty and consensus(tables.half_slices(table)).empty


def test_templates_are_valid(tmp_path: Path) -> None:
    from axspa_lib.study.config import MANIFEST

    folder = MANIFEST / "templates"
    readings = tables.read_table(folder / "readings.csv", tables.READINGS)
    assert tables.clean_readings(readings, ["P001"])[1] == []
    assert tables.clean_opinions(tables.read_table(folder / "opinions.csv", tables.OPINIONS), ["P001", "P002"])[1] == []
    people = tables.people(tables.read_table(folder / "patients.csv", tables.PATIENTS))
    assert people["P002"][0] == people["P003"][0] == "P002" and people["P003"][1] == "month12"
