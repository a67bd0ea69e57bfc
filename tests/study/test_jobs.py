"""What jobs cost: recorded times, and estimates that say what they rest on."""

from __future__ import annotations

import json

import pytest

from axspa_lib.book import cost
from axspa_lib.book.cost import estimate, work
from axspa_lib.study import jobs
from axspa_lib.study.config import load_study
from axspa_lib.study.jobs import Job, duration, recorded


def records(**profiles):
    """Finished jobs by profile: name with `:` for `/` and seconds."""
    return lambda name: [Job(job.replace(":", "/"), {"seconds": s}) for job, s in profiles.get(name, {}).items()]


def one(profile, job, known):
    (row,) = estimate(profile, [job], known)
    return row.seconds, row.basis


def test_a_job_that_ran_before_takes_as_long_again():
    known = records(quick={"detector:all_included:seed-0": 100, "detector:all_included:seed-1": 140})
    assert one("quick", "detector/all_included/seed-1", known) == (140, jobs.OWN)


def test_otherwise_the_median_of_its_like_counts():
    known = records(quick={f"detector:all_included:seed-{seed}": 100 + seed for seed in (0, 1, 8)})
    assert one("quick", "detector/no_clahe/seed-0", known) == (pytest.approx(101), jobs.SIBLINGS)


def test_patients_are_what_curation_costs():
    known = records(quick={"cohorts:phantom-desir": 52})
    patients = (
        load_study("quick").phantoms["phantom-desir"].patients,
        load_study("paper").phantoms["phantom-desir"].patients,
    )
    seconds, basis = one("paper", "cohorts/phantom-desir", known)
    assert seconds == pytest.approx(52 * patients[1] / patients[0]) and basis.startswith("profile quick")


def test_slices_are_priced_by_pixels():
    study = load_study("quick")
    known = records(quick={f"slices:{study.data_id()}:phantom-asas": 10})
    job = f"slices/{load_study('smoke').data_id()}/phantom-asas"
    assert load_study("smoke").detector.preprocessing.pixel_mm == 2 * study.detector.preprocessing.pixel_mm
    patients = load_study("smoke").phantoms["phantom-asas"].patients / study.phantoms["phantom-asas"].patients
    assert one("smoke", job, known)[0] == pytest.approx(10 * patients / 4)


def test_the_same_network_is_scaled_and_another_is_not():
    known = records(smoke={"detector:all_included:seed-0": 10})
    quick, smoke = (load_study(name).detector for name in ("quick", "smoke"))
    factor = quick.iterations / smoke.iterations * (quick.min_size / smoke.min_size) ** 2
    assert one("quick", "detector/all_included/seed-0", known)[0] == pytest.approx(10 * factor)
    assert one("paper", "detector/all_included/seed-0", known) == (48 * 60, "the paper: 48 min on an RTX 6000")


def test_without_a_record_it_says_so():
    (row,) = estimate("quick", ["detector/no_clahe/seed-0", "detector/no_clahe/seed-1"], records())
    assert row.unknown == row.jobs == 2 and row.seconds == 0 and row.basis == jobs.NOTHING
    assert cost.listed([row])[0][2:] == ["unknown", "unknown", jobs.NOTHING]


def test_rows_come_in_the_order_of_the_study_and_add_up():
    known = records(quick={"cohorts:phantom-desir": 20, "chapters:07_tables": 9, "detector:all_included:seed-0": 100})
    jobs = [
        "chapters/07_tables",
        "detector/all_included/seed-0",
        "detector/all_included/seed-1",
        "cohorts/phantom-desir",
    ]
    rows = estimate("quick", jobs, known)
    assert [row.kind for row in rows] == ["cohorts", "detector", "chapters"]
    assert sum(row.seconds for row in rows) == pytest.approx(20 + 200 + 9)


def test_records_are_read_and_half_written_ones_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    for name, text in {"a": json.dumps({"seconds": 3}), "b": '{"sec', "c": "{}"}.items():
        (tmp_path / "quick" / "bones" / name).mkdir(parents=True)
        (tmp_path / "quick" / "bones" / name / "run.json").write_text(text)
    assert [(job.name, job.seconds) for job in recorded("quick")] == [("bones/a", 3)]


@pytest.mark.parametrize("profile", ["smoke", "quick", "paper", "public"])
def test_every_kind_of_job_has_its_work(profile):
    study = load_study(profile)
    cohort = study.training_cohort
    jobs = [f"sources/{cohort}", "bones/round-1/iliac", f"slices/{study.data_id()}/{cohort}",
            "detector/all_included/seed-0", "chapters/07_tables"]  # fmt: skip
    assert all(work(profile, job)[1] > 0 for job in jobs)


def test_durations_of_nothing_are_unknown():
    assert duration(float("nan")) == "unknown" and duration(89) == "89 s" and duration(90) == "1.5 min"
