"""Read a curated cohort: tables checked against their schemas, volumes by patient.

Tables are read without the images; images are opened when a volume is asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from axspa_lib.study.cohort_tables import SCHEMAS, read_further_table, read_table
from axspa_lib.study.errors import DataError, MissingResultError
from axspa_lib.study.labels import BIDS_SUFFIX, SEQUENCES, SUBSETS, TEST, TRAIN, VALIDATION
from axspa_lib.study.runs import found, stored_root
from axspa_lib.study.volume import Volume, read_volume

#: Share of the subjects outside a fold that choose the weights.
VALIDATION_SHARE = 0.2


def consensus(halves: pd.DataFrame) -> pd.DataFrame:
    """Return each half-slice's consensus: majority of its readers, at least two; a tie is not inflamed.

    Args:
        halves: rows of `half_slices.csv`.

    Returns:
        `patient, slice, side, inflammation, readers` (number of readers), sorted (section 4.2: majority vote).
    """
    keys = ["patient", "slice", "side"]
    votes = halves.groupby(keys, sort=True)["inflammation"].agg(["sum", "count"]).reset_index()
    votes = votes[votes["count"] >= 2]
    return pd.DataFrame(
        {
            **{key: votes[key] for key in keys},
            "inflammation": (2 * votes["sum"] > votes["count"]).astype(int),
            "readers": votes["count"].astype(int),
        }
    ).reset_index(drop=True)


def bids_label(value: str) -> str:
    """Keep letters and digits, as BIDS asks; add a digest where characters were dropped.

    >>> bids_label("Patient1"), bids_label("Hélène 2")[:7]
    ('Patient1', 'Helene2')
    """
    plain = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
    label = re.sub(r"[^A-Za-z0-9]", "", plain)
    return label if label == value else f"{label}x{hashlib.sha256(value.encode()).hexdigest()[:6]}"


def file_label(patient: str) -> str:
    """Return a patient's key as part of a file name: unchanged where safe, else as `bids_label`."""
    return patient if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", patient) else bids_label(patient)


class Cohort:
    """A curated cohort on disk."""

    def __init__(self, path: Path | str) -> None:
        """Open the folder of a finished cohort.

        Raises:
            MissingResultError: curation has not finished there.
        """
        self.path = Path(path)
        if not (self.path / "curation.json").is_file():
            raise MissingResultError(
                f"no finished cohort in {self.path.name!r}: run `axspa curate SOURCE {self.path}` first"
            )

    @property
    def name(self) -> str:
        """Name of the cohort: that of its folder."""
        return self.path.name

    @cached_property
    def curation(self) -> dict[str, Any]:
        """Counts, versions and checksums of the curation."""
        return json.loads((self.path / "curation.json").read_text(encoding="utf-8"))

    @cached_property
    def everyone(self) -> pd.DataFrame:
        """All examinations, included or not."""
        return read_table(self.path, "participants")

    @cached_property
    def participants(self) -> pd.DataFrame:
        """Included examinations, one row each."""
        return self.everyone[self.everyone["status"] == "included"].reset_index(drop=True)

    @property
    def patients(self) -> list[str]:
        """Keys of the included examinations, sorted."""
        return list(self.participants["patient"])

    @cached_property
    def exclusions(self) -> pd.DataFrame:
        """Everything left out: `patient, stage, reason, remedy, excludes` (false where only rows or a mask were)."""
        return read_table(self.path, "exclusions")

    @cached_property
    def readings(self) -> pd.DataFrame:
        """Annotations by quadrant of all examinations, included or not."""
        return read_table(self.path, "readings")

    @cached_property
    def opinions(self) -> pd.DataFrame:
        """Opinions on all examinations, included or not (Table 2 compares readers on all of them)."""
        return read_table(self.path, "opinions")

    @cached_property
    def half_slices(self) -> pd.DataFrame:
        """Labels of half-slices by reader, of all examinations, included or not."""
        return read_table(self.path, "half_slices")

    @cached_property
    def splits(self) -> pd.DataFrame:
        """Subsets of the included examinations: `patient, subject, bones, detection`, and `fold` where there are folds.

        Raises:
            DataError: an examination is not of the cohort, or a subject lies in several subsets or folds.
        """
        table = read_table(self.path, "splits")
        strangers = sorted(set(table["patient"]) - set(self.patients))
        if strangers:
            raise DataError(f"{self.name}/splits.csv: names {strangers[0]!r}, who is not included: curate again")
        subjects = dict(zip(self.participants["patient"], self.participants["subject"], strict=True))
        for column in ("bones", "detection"):
            held = table[column].where(table[column] != "").groupby(table["patient"].map(subjects)).nunique()
            if (held > 1).any():
                subject = held.idxmax()
                raise DataError(
                    f"{self.name}/splits.csv: {subject!r} lies in several subsets of {column}: curate again"
                )
        if "fold" in table:
            several = table["fold"].groupby(table["patient"].map(subjects)).nunique() > 1
            if several.any():
                raise DataError(f"{self.name}/splits.csv: {several.idxmax()!r} lies in several folds: curate again")
        return table

    def consensus(self) -> pd.DataFrame:
        """Return the consensus label of each half-slice of the included examinations.

        Returns:
            `patient, slice, side, inflammation, readers`; majority of the readers who read it, a tie is not inflamed,
            at least two readers (section 4.2).
        """
        return consensus(self.half_slices[self.half_slices["patient"].isin(self.patients)])

    def subset(self, column: str, name: str, fold: int | None = None) -> list[str]:
        """Return the patients of a subset, as `subset("detection", "test")`.

        Args:
            column: the task, `bones` or `detection`.
            name: train, validation or test.
            fold: None for the single split. With a fold, the patients of the task (in any subset of its split) are
                divided again: those of the fold are the test set, of the other subjects a fifth, at least one and drawn
                from the next folds on, validate, and the rest train.

        Raises:
            DataError: no such split, subset or fold.
        """
        if column not in ("bones", "detection") or name not in SUBSETS:
            raise DataError(f"no subset {name!r} of {column!r}: choose bones or detection, and {', '.join(SUBSETS)}")
        if fold is None:
            return sorted(self.splits.loc[self.splits[column] == name, "patient"])
        return sorted(_subset_of_fold(self.splits, column, name, fold, self.name))

    def growing(self, fold: int | None = None) -> set[str]:
        """Return patients who may join the bone networks' training without leaking into test or validation.

        Those of the detection training set, and those outside the detection split (no STIR, nothing to detect) of
        subjects without an examination held out for any task or, with a fold, in that fold.
        """
        table = self.splits
        held = {
            patient for task in ("bones", "detection") for name in (VALIDATION, TEST)
            for patient in self.subset(task, name, fold)
        }  # fmt: skip
        if fold is not None:
            held |= set(table.loc[table["fold"] == fold, "patient"])
        people = set(table.loc[table["patient"].isin(held), "subject"])
        free = table[(table["detection"] == "") & ~table["subject"].isin(people)]
        return set(self.subset("detection", TRAIN, fold)) | set(free["patient"])

    def has_images(self, patient: str) -> bool:
        """Return whether the patient's T1 is at hand: stored results come with the images of a sample only."""
        return found(self.path / self._row(patient)["t1_file"]).is_file()

    @cached_property
    def with_images(self) -> list[str]:
        """Keys of the included examinations whose images are at hand, sorted."""
        return [patient for patient in self.patients if self.has_images(patient)]

    def volume(self, patient: str, sequence: str) -> Volume:
        """Return T1 or STIR of a patient on their common grid, float32.

        Raises:
            DataError: unknown patient or sequence, or the patient has no such sequence.
            MissingResultError: the file is gone.
        """
        if sequence not in SEQUENCES:
            raise DataError(f"no sequence {sequence!r}: choose {' or '.join(SEQUENCES)}")
        file = self._row(patient)[f"{sequence.lower()}_file"]
        if not file:
            raise DataError(f"{self.name}: patient {patient!r} has no {sequence}: take only patients with `has_stir`")
        volume = read_volume(self._existing(file))
        return volume.like(volume.array.astype(np.float32))

    def sidecar(self, patient: str, sequence: str) -> dict[str, Any]:
        """Return the acquisition fields of a sequence, BIDS names and units; empty where none were known."""
        file = self._row(patient).get(f"{sequence.lower()}_file", "")
        if sequence not in BIDS_SUFFIX or not file:
            raise DataError(f"{self.name}: patient {patient!r} has no {sequence}")
        path = self._existing(file.removesuffix(".nii.gz") + ".json")
        return json.loads(path.read_text(encoding="utf-8"))

    def reference_bones(self, patient: str) -> Volume | None:
        """Return the reference bone mask (`labels.Bone`, uint8), or none."""
        file = self._row(patient)["bones_file"]
        return read_volume(self._existing(file)) if file else None

    def truth(self, patient: str, name: str) -> Volume | None:
        """Return a mask of the simulator (`joint`, `lesions`), or none."""
        self._row(patient)
        file = f"{file_label(patient)}_desc-{name.replace('_', '')}_dseg.nii.gz"
        path = found(self.path / "derivatives" / "truth" / file)
        return read_volume(path) if path.is_file() else None

    def table(self, name: str) -> pd.DataFrame:
        """Return a further table that the source left beside the labels (`drawn_areas`, `bone_splits` of `vhi`).

        Raises:
            MissingResultError: the cohort has no such table.
        """
        if name in SCHEMAS:
            return read_table(self.path, name)
        return read_further_table(self.path, name)

    def _row(self, patient: str) -> dict[str, Any]:
        if patient not in self.rows:
            raise DataError(f"{self.name}: no included patient {patient!r}: see participants.csv and exclusions.csv")
        return self.rows[patient]

    @cached_property
    def rows(self) -> dict[str, dict[str, Any]]:
        """Rows of the included examinations by patient."""
        rows: list[Any] = self.participants.to_dict("records")
        return {row["patient"]: row for row in rows}

    def _existing(self, file: str) -> Path:
        path = found(self.path / file)
        if not path.is_file():
            if self.path.is_relative_to(stored_root()):
                raise MissingResultError(
                    f"{self.name}: {file} is not in the sample of images, which has {', '.join(self.with_images)}: "
                    f"choose one of them, or run `make book PROFILE={self.path.parents[1].name}`"
                )
            raise MissingResultError(f"{self.name}: {file} is gone: run `axspa curate` again, it completes the cohort")
        return path


def _subset_of_fold(splits: pd.DataFrame, column: str, name: str, fold: int, cohort: str) -> list[str]:
    folds = int(splits["fold"].max()) + 1 if "fold" in splits and len(splits) else 0
    if not 0 <= fold < folds:
        raise DataError(f"{cohort}/splits.csv: has no fold {fold}: curate again with `folds` of the profile set")
    table = splits[splits[column] != ""]
    if name == TEST:
        return list(table.loc[table["fold"] == fold, "patient"])
    rest = table[table["fold"] != fold]
    order = rest.assign(turn=(rest["fold"] - fold) % folds).sort_values(["turn", "subject"])
    subjects = list(order["subject"].drop_duplicates())
    validating = subjects[: max(1, round(VALIDATION_SHARE * len(subjects)))]
    return list(rest.loc[rest["subject"].isin(validating) == (name == VALIDATION), "patient"])
