"""Stored results of one profile, for the reader notebooks: everything is read, nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from axspa_lib import cost
from axspa_lib.cohort import Cohort
from axspa_lib.config import Study, load_study
from axspa_lib.detector.inference import read_predictions
from axspa_lib.diagnosis import half_slice_results, patient_results
from axspa_lib.errors import ConfigError, MissingResultError
from axspa_lib.labels import TEST
from axspa_lib.layout import Layout
from axspa_lib.runs import noted, read_run, stored_root
from axspa_lib.stored import result_file
from axspa_lib.volume import Volume, read_volume


@dataclass(frozen=True)
class Results:
    """The results that a run of the study left under `runs/<profile>/`.

    With folds, whatever is read of the training cohort is out of fold: of each patient, what came from the fold in
    which the patient's subject was tested. Of another cohort, the first fold's segmentation is read, and the detectors
    of all folds are members.

    Attributes:
        profile: a key of the profiles.
        score_threshold: detections scoring less do not count; 0 takes the study's (0.7 in the demo).
        rule: positive half-slices that make a patient positive; 0 takes the study's (2 in the paper).
        or_stored: read what comes with the repository (`book/stored/`) where this machine has no run of the profile.

    Raises:
        ConfigError: the threshold is no score.
    """

    profile: str = "quick"
    score_threshold: float = 0.0
    rule: int = 0
    or_stored: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold <= 1:
            raise ConfigError(f"parameter score_threshold: a score lies from 0 to 1 (given: {self.score_threshold})")

    @cached_property
    def study(self) -> Study:
        """The study of the profile."""
        return load_study(self.profile)

    @cached_property
    def layout(self) -> Layout:
        """Where its results lie."""
        own, stored = Layout.of(self.study), Layout(stored_root() / self.profile)
        return stored if self.or_stored and not any(own.root.glob("cohorts/*/run.json")) else own

    @property
    def kind(self) -> str:
        """What figures of the profile show: `phantom` or `real` (a key of `labels.MARKS`)."""
        return "phantom" if self.study.training_cohort in self.study.phantoms else "real"

    def variant(self, experiment: str) -> Study:
        """The study of one row of the experiment table."""
        return load_study(self.profile, experiment)

    def cohort(self, name: str | None = None) -> Cohort:
        """A curated cohort; the training cohort when no name is given."""
        return Cohort(self.layout.cohort(name or self.study.training_cohort))

    @property
    def threshold(self) -> float:
        """The score below which a detection does not count."""
        return self.score_threshold or self.study.detector.score_threshold

    # bones ------------------------------------------------------------------------------------------------------------

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the bone networks trained."""
        return ("sacrum", "iliac") if self.study.bones.networks == "pair" else ("both",)

    def bone_history(self, bone: str, round_: int = 1, fold: int | None = None) -> pd.DataFrame:
        """Training history of one bone network, of the first fold unless said otherwise."""
        folder = self.layout.bones(bone, round_, self._fold(fold))
        return pd.read_parquet(noted(self._finished(folder) / "history.parquet"))

    def dice(self, cohort: str | None = None, subset: str | None = TEST, round_: int | None = None) -> pd.DataFrame:
        """Overlap per slice and bone of the predicted with the reference masks.

        Args:
            cohort: the training cohort when None.
            subset: of the bone split of the training cohort; all patients with a reference mask when None. With folds
                every patient is tested once, so it is not asked for.
            round_: the last when None.
        """
        table = self._segmentation_table("dice.csv", cohort, round_)
        if self.study.folds > 1:
            return table
        if subset is not None and (cohort or self.study.training_cohort) == self.study.training_cohort:
            table = table[table["patient"].isin(self.cohort(cohort).subset("bones", subset))]
        return table

    def bones(self, patient: str, cohort: str | None = None, round_: int | None = None) -> Volume:
        """Predicted bone mask of a patient."""
        return self._mask(patient, "bones", cohort, round_)

    def joint(self, patient: str, cohort: str | None = None, round_: int | None = None) -> Volume:
        """Joint ROI of a patient on the T1's grid: 1 patient right, 2 patient left."""
        return self._mask(patient, "joint", cohort, round_)

    def joints(self, cohort: str | None = None) -> pd.DataFrame:
        """Area of the joint ROI by patient, slice and side."""
        return self._segmentation_table("joints.csv", cohort, None)

    def increment(self, cohort: str | None = None, round_: int | None = None) -> pd.DataFrame:
        """Who joined the annotated set."""
        return self._segmentation_table("increment.csv", cohort, round_)

    # detector ---------------------------------------------------------------------------------------------------------

    def seeds(self, experiment: str = "all_included") -> list[int]:
        """Members of an experiment that have finished (in every fold)."""
        finished = []
        for fold in self.study.fold_numbers:
            folder = self.layout.member(experiment, 0, fold).parent
            paths = folder.glob("seed-*/run.json")
            finished.append({int(path.parent.name.removeprefix("seed-")) for path in paths})
        return sorted(set.intersection(*finished))

    def member_run(self, seed: int = 0, experiment: str = "all_included", fold: int | None = None) -> dict[str, Any]:
        """The record of one training, of the first fold unless said otherwise."""
        return read_run(self.layout.member(experiment, seed, self._fold(fold)))

    def history(self, seed: int = 0, experiment: str = "all_included", fold: int | None = None) -> pd.DataFrame:
        """Training history of one member, of the first fold unless said otherwise."""
        folder = self.layout.member(experiment, seed, self._fold(fold))
        return pd.read_parquet(noted(self._finished(folder) / "history.parquet"))

    def slices_folder(
        self, cohort: str | None = None, experiment: str = "all_included", fold: int | None = None
    ) -> Path:
        """Folder of the detector's preprocessed slices, of the first fold unless said otherwise."""
        name = cohort or self.study.training_cohort
        return self._finished(self.layout.slices(self.variant(experiment).data_id(), name, self._fold(fold)))

    def predictions(self, cohort: str | None = None, experiment: str = "all_included") -> dict[int, pd.DataFrame]:
        """Stored detections of the test patients, by member.

        With folds a member of the training cohort is one seed in every fold; of another cohort each training is a
        member, numbered seed + 100 x fold.
        """
        name = cohort or self.study.training_cohort
        found: dict[int, list[pd.DataFrame]] = {}
        for seed in self.seeds(experiment):
            for fold in self.study.fold_numbers:
                number = seed if name == self.study.training_cohort else seed + 100 * (fold or 0)
                path = self.layout.member(experiment, seed, fold) / f"predictions_{name}.parquet"
                found.setdefault(number, []).append(read_predictions(noted(path)))
        return {number: pd.concat(parts, ignore_index=True) for number, parts in sorted(found.items())}

    def evaluated(self, cohort: str | None = None, experiment: str = "all_included") -> pd.DataFrame:
        """Half-slices of the slices predicted: `patient, slice, side, joint` (has ROI), `inflammation` (consensus)."""
        name = cohort or self.study.training_cohort
        folds = self.study.fold_numbers if name == self.study.training_cohort else self.study.fold_numbers[:1]
        parts = []
        for fold in folds:
            path = noted(self.slices_folder(name, experiment, fold) / "half_slices.csv")
            tested = self.member_run(self.seeds(experiment)[0], experiment, fold)["tested"][name]
            table = pd.read_csv(path, dtype={"patient": str})
            parts.append(table[table["patient"].isin(tested)])
        return pd.concat(parts, ignore_index=True)

    def half_slices(self, cohort: str | None = None, experiment: str = "all_included") -> dict[int, pd.DataFrame]:
        """Half-slice results by member, on every half-slice of the slices predicted."""
        wanted = self.evaluated(cohort, experiment)[["patient", "slice", "side"]]
        return {
            seed: half_slice_results(table, wanted, self.threshold)
            for seed, table in self.predictions(cohort, experiment).items()
        }

    def patients(self, cohort: str | None = None, experiment: str = "all_included") -> dict[int, pd.DataFrame]:
        """Patient diagnoses by member (section 3.2.2)."""
        rule = self.rule or self.study.diagnosis.min_positive
        return {seed: patient_results(table, rule) for seed, table in self.half_slices(cohort, experiment).items()}

    def all_patients(self) -> dict[str, dict[str, dict[int, pd.DataFrame]]]:
        """Patient diagnoses by cohort, experiment and member, for Table 4."""
        return {
            cohort: {name: self.patients(cohort, name) for name in self.study.experiments if self.seeds(name)}
            for cohort in self.study.cohorts
        }

    def true_lesions(self, cohort: str | None = None) -> pd.DataFrame:
        """Lesions of simulated patients: `patient, type, side, volume_mm3, first_slice, last_slice`, ...

        Raises:
            MissingResultError: the cohort is not simulated, so nobody knows its lesions.
        """
        name = cohort or self.study.training_cohort
        path = self.layout.source(name) / "export" / "truth" / "lesions.csv"
        if not path.is_file():
            raise MissingResultError(f"the true lesions of {name} are not known: only a simulated cohort has them")
        return pd.read_csv(noted(path), dtype={"patient": str})

    # real scans -------------------------------------------------------------------------------------------------------

    def measured(self, name: str) -> pd.DataFrame:
        """A table of the lesions and changes measured: `lesions`, `volumes`, `multiples`, `change` or `failures`."""
        path = noted(self._finished(self.layout.measures) / f"{name}.csv")
        return pd.read_csv(path, dtype={"patient": str, "subject": str})

    def found_area(self, patient: str) -> Volume:
        """Inflamed area found on an examination, on the grid of its STIR."""
        return read_volume(self._finished(self.layout.measures) / f"{patient}_desc-inflamed_dseg.nii.gz")

    def training_sizes(self, names: Sequence[str]) -> list[tuple[str, float]]:
        """Patients that each experiment learnt detection from, as a mean over the folds."""
        sizes = []
        for name in names:
            if self.seeds(name):
                runs = [self.member_run(self.seeds(name)[0], name, fold) for fold in self.study.fold_numbers]
                sizes.append((name, sum(run["patients"]["train"] for run in runs) / len(runs)))
        return sizes

    # the run ----------------------------------------------------------------------------------------------------------

    def jobs(self, note: bool = False) -> pd.DataFrame:
        """Every finished job of the profile, in the order in which they started.

        Args:
            note: whether the chapter that asks depends on their records; those of chapters, which its own is one of,
                and of raw data, which are stored without the place where they lie, are never noted.

        Returns:
            `job, kind, seconds, cpu_seconds, peak_memory_mb, threads, device, seed, commit, started`; what a record of
            an earlier version lacks is not a number.
        """
        rows = []
        for job in cost.recorded(self.profile):
            if note and cost.kind_of(job.name) not in ("chapters", "sources"):
                noted(result_file(self.profile, f"{job.name}/run.json"))
            used, origin = job.record.get("resources", {}), job.record["provenance"]
            row = {"job": job.name, "kind": job.kind, "seconds": job.seconds}
            row |= {name: used.get(name, float("nan")) for name in ("cpu_seconds", "peak_memory_mb", "threads")}
            row |= {"device": origin["device"], "seed": self.study.seed, "commit": origin["commit"]}
            rows.append(row | {"started": job.record["started"]})
        return pd.DataFrame(rows).sort_values(["started", "job"], ignore_index=True)

    def provenance(self) -> Styler:
        """Where the numbers of a page come from: profile, seed, jobs, compute time, commit, versions, machine, date."""
        return listing(self._provenance().items(), ("this page", "value"))

    def provenance_text(self) -> str:
        """The same in one sentence, for pages that quote numbers of others."""
        rows = self._provenance()
        return (
            f"Profile {rows['profile']}, seed {rows['seed']}, commit {rows['commit']}; {rows['jobs']} jobs, "
            f"{rows['computed for']}, on {rows['device']}; last job {rows['last job']}."
        )

    def _provenance(self) -> dict[str, str]:
        jobs = self.jobs()
        record = read_run(self.layout.cohort(self.study.training_cohort), note=False)["provenance"]
        versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
        rows = {
            "profile": self.profile,
            "cohorts": ", ".join(self.study.cohorts),
            "seed": self.study.seed,
            "jobs": len(jobs),
            "computed for": f"{jobs['seconds'].sum() / 60:.1f} minutes in all jobs",
            "commit": ", ".join(sorted(set(jobs["commit"]))),
            "device": ", ".join(sorted(set(jobs["device"]))) + f", {record['cpus']} cores, {record['system']}",
            "python": record["python"],
            "versions": versions,
            "started": jobs["started"].min(),
            "last job": jobs["started"].max(),
        }
        return {name: str(value) for name, value in rows.items()}

    def write_table(self, name: str, table: pd.DataFrame) -> Path:
        """Store a table of a page as CSV below `tables/`."""
        path = Layout.of(self.study).tables / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
        return path

    def _finished(self, folder: Path) -> Path:
        read_run(folder)
        return folder

    def fold_of(self, patient: str, cohort: str | None = None) -> int | None:
        """The fold in which a patient is tested; the first for other cohorts, None without folds."""
        name = cohort or self.study.training_cohort
        if self.study.folds == 1 or name != self.study.training_cohort:
            return self._fold(None)
        splits = self.cohort(name).splits
        return int(splits.loc[splits["patient"] == patient, "fold"].iloc[0])

    def _fold(self, fold: int | None) -> int | None:
        return self.study.fold_numbers[0] if fold is None else fold

    def _segmentation(self, cohort: str | None, round_: int | None, fold: int | None) -> Path:
        name = cohort or self.study.training_cohort
        return self._finished(self.layout.segmentation(name, round_ or self.study.increment.rounds, fold))

    def _segmentation_table(self, name: str, cohort: str | None, round_: int | None) -> pd.DataFrame:
        of_training = (cohort or self.study.training_cohort) == self.study.training_cohort
        folds = self.study.fold_numbers if of_training else self.study.fold_numbers[:1]
        tables = {}
        for fold in folds:
            path = noted(self._segmentation(cohort, round_, fold) / name)
            tables[fold] = pd.read_csv(path, dtype={"patient": str})
        if len(folds) == 1:
            return tables[folds[0]]
        splits = self.cohort().splits
        tested = {fold: set(splits.loc[splits["fold"] == fold, "patient"]) for fold in folds}
        parts = [table[table["patient"].isin(tested[fold])] for fold, table in tables.items()]
        return pd.concat(parts, ignore_index=True)

    def _mask(self, patient: str, kind: str, cohort: str | None, round_: int | None) -> Volume:
        folder = self._segmentation(cohort, round_, self.fold_of(patient, cohort))
        return read_volume(folder / f"{patient}_desc-{kind}_dseg.nii.gz")


def with_interval(value: float, low: float, high: float, digits: int = 2) -> str:
    """A figure and its 95 % interval as text.

    >>> with_interval(0.8512, 0.8, 0.9)
    '0.85 [0.80, 0.90]'
    """
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def against_chance(low: float, high: float) -> str:
    """What the 95 % interval of an MCC says about chance.

    >>> against_chance(-0.1, 0.5)
    'its interval contains 0, so this run cannot tell the judgement from chance'
    """
    if low > 0:
        return "its interval lies above 0, so the judgement is better than chance"
    if high < 0:
        return "its interval lies below 0, so the judgement is worse than chance"
    return "its interval contains 0, so this run cannot tell the judgement from chance"


def share(part: int, whole: int) -> str:
    """A share as text.

    >>> share(205, 237), share(0, 0)
    ('205 of 237 (86 %)', '0 of 0')
    """
    return f"{part} of {whole}" + (f" ({100 * part / whole:.0f} %)" if whole else "")


def dotted(overrides: Mapping[str, Any]) -> str:
    """Nested parameters in one line, as a reader writes them.

    >>> dotted({"detector": {"augmentation": {"flip": False, "rotation_deg": 0}}}), dotted({})
    ('detector.augmentation: flip = False, rotation_deg = 0', '–')
    """
    lines = []
    for name, value in overrides.items():
        deeper = isinstance(value, Mapping)
        while isinstance(value, Mapping) and len(value) == 1 and isinstance(next(iter(value.values())), Mapping):
            part, value = next(iter(value.items()))
            name = f"{name}.{part}"
        lines.append(f"{name}: {', '.join(f'{key} = {kept}' for key, kept in value.items())}" if deeper
                     else f"{name} = {value}")  # fmt: skip
    return "; ".join(lines) or "–"


def listing(rows: Iterable[Iterable[Any]], columns: Sequence[str]) -> Styler:
    """A small table for a page, without row numbers; every value as its text."""
    table = pd.DataFrame([[str(value) for value in row] for row in rows], columns=list(columns))
    return table.style.hide(axis="index").set_table_styles([{"selector": "td", "props": "text-align: left"}])
