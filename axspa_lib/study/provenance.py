"""Provenance of a run: its finished jobs, and the settings, machine and versions behind a page."""

from __future__ import annotations

import pandas as pd
from pandas.io.formats.style import Styler

from axspa_lib.study.formatting import listing
from axspa_lib.study.jobs import KINDS, duration, kind_of, recorded
from axspa_lib.study.results import Run
from axspa_lib.study.runs import read_run, record_input, result_file, stored_root


def jobs_by_kind(jobs: pd.DataFrame) -> pd.DataFrame:
    """Summarise jobs by kind, as text: `job, number, one takes, together, peak memory, device`.

    Args:
        jobs: from `Run.jobs`.
    """
    rows = []
    for kind in [name for name in KINDS.values() if name in set(jobs["kind"])]:
        part = jobs[jobs["kind"] == kind]
        peak = part["peak_memory_mb"].max()
        rows.append(
            {
                "job": kind,
                "number": len(part),
                "one takes (median)": duration(part["seconds"].median()),
                "together": duration(part["seconds"].sum()),
                "peak memory": f"{peak / 1024:.1f} GB" if pd.notna(peak) else "not recorded",
                "device": ", ".join(sorted(set(part["device"]))),
            }
        )
    return pd.DataFrame(rows)


def jobs(run: Run, note: bool = False) -> pd.DataFrame:
    """Return every finished job of the profile, in the order in which they started.

    Args:
        note: whether the chapter that asks depends on their records; those of chapters, which its own is one of,
            and of raw data, which are stored without the place where they lie, are never noted.

    Returns:
        `job, kind, seconds, cpu_seconds, peak_memory_mb, threads, device, seed, commit, started`; what a record of
        an earlier version lacks is not a number.
    """
    rows = []
    for job in recorded(run.profile):
        if note and kind_of(job.name) not in ("chapters", "sources"):
            record_input(result_file(run.profile, f"{job.name}/run.json"))
        used, origin = job.record.get("resources", {}), job.record["provenance"]
        row = {"job": job.name, "kind": job.kind, "seconds": job.seconds}
        row |= {name: used.get(name, float("nan")) for name in ("cpu_seconds", "peak_memory_mb", "threads")}
        row |= {"device": origin["device"], "seed": run.study.seed, "commit": origin["commit"]}
        rows.append(row | {"started": job.record["started"]})
    return pd.DataFrame(rows).sort_values(["started", "job"], ignore_index=True)


def provenance(run: Run) -> Styler:
    """Tabulate a page's provenance: profile, seed, jobs, compute time, commit, versions, machine, date."""
    return listing(_provenance(run).items(), ("this page", "value"))


def provenance_text(run: Run) -> str:
    """Return a run's provenance in one sentence, for pages that quote numbers of others."""
    rows = _provenance(run)
    images = f"; images: {rows['images']}" if "images" in rows else ""
    return (
        f"Profile {rows['profile']}, seed {rows['seed']}, commit {rows['commit']}; {rows['jobs']} jobs, "
        f"{rows['computed for']}, on {rows['device']}; last job {rows['last job']}{images}."
    )


def _provenance(run: Run) -> dict[str, str]:
    finished = jobs(run)
    record = read_run(run.layout.cohort(run.study.training_cohort), note=False)["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    rows = {
        "profile": run.profile,
        "cohorts": ", ".join(run.study.cohorts),
        "seed": run.study.seed,
        "jobs": len(finished),
        "computed for": f"{finished['seconds'].sum() / 60:.1f} minutes in all jobs",
        "commit": ", ".join(sorted(set(finished["commit"]))),
        "device": ", ".join(sorted(set(finished["device"]))) + f", {record['cpus']} cores, {record['system']}",
        "python": record["python"],
        "versions": versions,
        "started": finished["started"].min(),
        "last job": finished["started"].max(),
    }
    if run.layout.root.is_relative_to(stored_root()):
        sampled = len(run.cohort().with_images)
        rows["images"] = f"sample of {sampled} patients" if sampled else "none come with the repository"
    return {name: str(value) for name, value in rows.items()}
