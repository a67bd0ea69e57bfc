"""Read stored results of the bone networks: Dice, histories, predicted masks and the increment."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from axspa_lib.bones.figures import Case
from axspa_lib.bones.variants import bone_variant
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.labels import SUBSETS, TEST
from axspa_lib.study.results import Run
from axspa_lib.study.runs import found, read_run, record_input
from axspa_lib.study.volume import Volume, read_volume

#: What the tables call the study's own networks.
OWN = "two networks (this study)"


def own_slices(run: Run, round_number: int | None = None) -> pd.DataFrame:
    """Return Dice of the study's own networks on held-out patients, each segmented by the fold that never saw them.

    Args:
        run: the results.
        round_number: of the increment; the last when None.

    Returns:
        Rows of `dice_by_slice`.
    """
    cohort = run.cohort()
    parts = []
    for fold in run.study.fold_numbers:
        table = round_table(run, "dice.csv", round_number or run.study.increment.rounds, fold)
        parts.append(table[table["patient"].isin(cohort.subset("bones", TEST, fold))])
    return pd.concat(parts, ignore_index=True)


def variant_slices(run: Run, name: str) -> pd.DataFrame:
    """Return held-out Dice for one bone-network variant, as rows of `dice_by_slice`.

    Raises:
        MissingResultError: it has not been computed.
    """
    parts = []
    for fold in run.study.fold_numbers if bone_variant(name).folded else (None,):
        folder = run.layout.bone_variant(name, fold)
        read_run(folder)
        parts.append(pd.read_csv(record_input(folder / "dice.csv"), dtype={"patient": str}))
    return pd.concat(parts, ignore_index=True)


def all_slices(run: Run) -> dict[str, pd.DataFrame]:
    """Dice on held-out patients of the study's own networks and of every row of the profile, by label."""
    rows = {bone_variant(name).label: variant_slices(run, name) for name in run.study.bone_variants}
    return {OWN: own_slices(run)} | rows


def subjects(cohort: Cohort) -> dict[str, str]:
    """Return the subject of every examination."""
    return dict(zip(cohort.participants["patient"], cohort.participants["subject"], strict=True))


def candidates_of(run: Run, round_number: int | None = None) -> tuple[list[str], list[str]]:
    """Examinations without manual bones, and those of them that a round accepted (in every fold, where there are)."""
    round_number = round_number or run.study.increment.rounds
    grown = pd.concat([round_table(run, "increment.csv", round_number, fold) for fold in run.study.fold_numbers])
    mine = grown[grown["source"] == "predicted"].groupby("patient")["accepted"].all()
    return sorted(mine.index), sorted(mine.index[mine])


def round_table(run: Run, name: str, round_number: int, fold: int | None) -> pd.DataFrame:
    """Return a table of one segmentation of the training cohort, all patients."""
    folder = run.layout.segmentation(run.study.training_cohort, round_number, fold)
    read_run(folder)
    return pd.read_csv(record_input(folder / name), dtype={"patient": str})


def unseen_slices(run: Run) -> pd.DataFrame:
    """Return Dice on all patients with a reference that no network learnt from or was chosen on.

    The simulator has a reference for every patient, so these are many more than the held-out annotated ones.
    """
    cohort, parts = run.cohort(), [own_slices(run)]
    if run.study.folds == 1:
        known = {patient for name in SUBSETS for patient in cohort.subset("bones", name)}
        table = dice(run, subset=None)
        parts.append(table[~table["patient"].isin(known)])
    return pd.concat(parts, ignore_index=True)


def segmentation_cases(run: Run, slices: pd.DataFrame, rank: str = "worst", count: int = 4) -> list[Case]:
    """Return slices to look at, by Dice, of patients whose images are at hand.

    Args:
        run: the results.
        slices: rows of `Run.dice`.
        rank: `worst`, `median` or `best`, among slices that show the bone in the reference.
        count: how many, of as many different patients as there are.
    """
    slices = slices[slices["patient"].isin(run.cohort().with_images)]
    shown = slices[(slices["tp"] + slices["fn"] > 0) & slices["bone"].isin(["sacrum", "iliac"])].dropna(subset="dice")
    ordered = shown.sort_values(["dice", "patient", "slice"], ascending=rank != "best", ignore_index=True)
    if rank == "median":
        ordered = ordered.iloc[(ordered.index - len(ordered) // 2).to_series().abs().argsort(kind="stable")]
    chosen = pd.concat([ordered.drop_duplicates("patient"), ordered]).drop_duplicates(["patient", "slice"]).head(count)
    cohort = run.cohort()
    cases = []
    for row in chosen.to_dict("records"):
        patient, index = row["patient"], int(row["slice"])
        t1, reference = cohort.volume(patient, "T1"), cohort.reference_bones(patient)
        cases.append(
            Case(
                f"{patient}, slice {index}\n{row['bone']} {row['dice']:.2f}",
                t1.array[index],
                bones(run, patient).array[index],
                None if reference is None else reference.array[index],
                t1.spacing[1:],
            )
        )
    return cases


def networks(run: Run) -> tuple[str, ...]:
    """Return the names of the bone networks trained."""
    return ("sacrum", "iliac") if run.study.bones.networks == "pair" else ("both",)


def bone_history(run: Run, bone: str, round_number: int = 1, fold: int | None = None) -> pd.DataFrame:
    """Training history of one bone network, of the first fold unless said otherwise."""
    folder = run.layout.bones(bone, round_number, run.first_fold(fold))
    return pd.read_parquet(record_input(run.finished(folder) / "history.parquet"))


def dice(
    run: Run, cohort: str | None = None, subset: str | None = TEST, round_number: int | None = None
) -> pd.DataFrame:
    """Overlap per slice and bone of the predicted with the reference masks.

    Args:
        cohort: the training cohort when None.
        subset: of the bone split of the training cohort; all patients with a reference mask when None. With folds
            every patient is tested once, so it is not asked for.
        round_number: the last when None.
    """
    table = segmentation_table(run, "dice.csv", cohort, round_number)
    if run.study.folds > 1:
        return table
    if subset is not None and (cohort or run.study.training_cohort) == run.study.training_cohort:
        table = table[table["patient"].isin(run.cohort(cohort).subset("bones", subset))]
    return table


def bones(run: Run, patient: str, cohort: str | None = None, round_number: int | None = None) -> Volume:
    """Predicted bone mask of a patient."""
    return mask(run, patient, "bones", cohort, round_number)


def increment(run: Run, cohort: str | None = None, round_number: int | None = None) -> pd.DataFrame:
    """Return the patients who joined the annotated set."""
    return segmentation_table(run, "increment.csv", cohort, round_number)


def fold_of(run: Run, patient: str, cohort: str | None = None) -> int | None:
    """Return the fold in which a patient is tested; the first for other cohorts, None without folds."""
    name = cohort or run.study.training_cohort
    if run.study.folds == 1 or name != run.study.training_cohort:
        return run.first_fold(None)
    splits = run.cohort(name).splits
    return int(splits.loc[splits["patient"] == patient, "fold"].iloc[0])


def segmentation_folder(run: Run, cohort: str | None, round_number: int | None, fold: int | None) -> Path:
    """Return the folder of a finished segmentation."""
    name = cohort or run.study.training_cohort
    return run.finished(run.layout.segmentation(name, round_number or run.study.increment.rounds, fold))


def segmentation_table(run: Run, name: str, cohort: str | None, round_number: int | None) -> pd.DataFrame:
    """Return a table of a segmentation; of the training cohort, each patient's rows from the fold that tested them."""
    of_training = (cohort or run.study.training_cohort) == run.study.training_cohort
    folds = run.study.fold_numbers if of_training else run.study.fold_numbers[:1]
    tables = {}
    for fold in folds:
        path = record_input(segmentation_folder(run, cohort, round_number, fold) / name)
        tables[fold] = pd.read_csv(path, dtype={"patient": str})
    if len(folds) == 1:
        return tables[folds[0]]
    splits = run.cohort().splits
    tested = {fold: set(splits.loc[splits["fold"] == fold, "patient"]) for fold in folds}
    parts = [table[table["patient"].isin(tested[fold])] for fold, table in tables.items()]
    return pd.concat(parts, ignore_index=True)


def mask(run: Run, patient: str, kind: str, cohort: str | None, round_number: int | None) -> Volume:
    """Return a predicted mask of a patient: `bones` or `joint`."""
    folder = segmentation_folder(run, cohort, round_number, fold_of(run, patient, cohort))
    return read_volume(found(folder / f"{patient}_desc-{kind}_dseg.nii.gz"))
