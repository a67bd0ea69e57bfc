"""Stored results of the bone networks compared: the study's own, its variants, and the rounds of the increment."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from axspa_lib.bones.dice import dice_difference, dice_summary, lacking
from axspa_lib.bones.figures import Case
from axspa_lib.bones.variants import bone_variant
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.formatting import share, with_interval
from axspa_lib.study.labels import SUBSETS, TEST, TRAIN
from axspa_lib.study.results import Run
from axspa_lib.study.runs import found, read_run, record_input
from axspa_lib.study.volume import Volume, read_volume

#: What the tables call the study's own networks.
OWN = "two networks (this study)"

#: Bones of the tables to read, by name in the rows.
SHOWN = {"iliac": "iliac", "sacrum": "sacrum", "any": "all bone"}


def own_slices(run: Run, round_number: int | None = None) -> pd.DataFrame:
    """Dice of the study's own networks on every held-out patient, each segmented by the fold that never saw them.

    Args:
        run: the results.
        round_number: of the increment; the last when None.

    Returns:
        Rows of `dice_by_slice`.
    """
    cohort = run.cohort()
    parts = []
    for fold in run.study.fold_numbers:
        table = _table(run, "dice.csv", round_number or run.study.increment.rounds, fold)
        parts.append(table[table["patient"].isin(cohort.subset("bones", TEST, fold))])
    return pd.concat(parts, ignore_index=True)


def variant_slices(run: Run, name: str) -> pd.DataFrame:
    """The same of one row of `bone_variants.yaml`.

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
    """The person of every examination."""
    return dict(zip(cohort.participants["patient"], cohort.participants["subject"], strict=True))


def comparison(run: Run, against: str | None = None) -> pd.DataFrame:
    """Every variant beside the networks it is compared with, on the same held-out patients, by bone.

    Args:
        run: the results.
        against: the row compared with; the study's own networks when None.

    Returns:
        `networks, bone, patients, dice, low, high, difference, difference_low, difference_high, p_value`; intervals and
        permutation test by subject; the difference is the variant's minus the other's, missing for the other itself.
    """
    people, n = subjects(run.cohort()), run.study.diagnosis.bootstrap
    slices = all_slices(run)
    reference = OWN if against is None else bone_variant(against).label
    parts = []
    for label, table in slices.items():
        summary = dice_summary(table, n, subjects=people).drop(columns="slices")
        if label != reference:
            names = {"low": "difference_low", "high": "difference_high"}
            apart = dice_difference(table, slices[reference], n, subjects=people).rename(columns=names)
            summary = summary.merge(apart.drop(columns="patients"), on="bone", how="left")
        parts.append(summary.assign(networks=label))
    table = pd.concat(parts, ignore_index=True)
    columns = ["networks", "bone", "patients", "dice", "low", "high"]
    return table.reindex(columns=[*columns, "difference", "difference_low", "difference_high", "p_value"])


def pair_and_single(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Held-out Dice of two networks and of one, trained alike (section 5.1)."""
    alike = "pair_anew" if "pair_anew" in run.study.bone_variants else None
    return own_slices(run) if alike is None else variant_slices(run, alike), variant_slices(run, "single")


def without_sacrum(run: Run) -> pd.DataFrame:
    """Two networks against one on the slices that lack the sacrum, where the paper says that one fails (section 5.1).

    Returns:
        `networks, slices, patients, iliac, low, high, called_sacrum`: Dice of the iliac bones on those slices with its
        interval by subject, and the area wrongly called sacrum as a share of the ilium's.
    """
    people, n = subjects(run.cohort()), run.study.diagnosis.bootstrap
    rows = []
    for name, table in zip(("two networks", "one network"), pair_and_single(run), strict=True):
        without = lacking(table, "sacrum")
        sums = without.groupby("bone")[["tp", "fp", "fn"]].sum().reindex(["sacrum", "iliac"], fill_value=0)
        ilium = float(sums["tp"]["iliac"] + sums["fn"]["iliac"])
        wrong = float(sums["fp"]["sacrum"]) / ilium if ilium else float("nan")
        found = dice_summary(without, n, subjects=people)
        found = found[found["bone"] == "iliac"].drop(columns="bone").rename(columns={"dice": "iliac"})
        rows.append(found.assign(networks=name, called_sacrum=wrong))
    columns = ["networks", "slices", "patients", "iliac", "low", "high", "called_sacrum"]
    return pd.concat(rows, ignore_index=True)[columns]


def single_difference(run: Run, only_without_sacrum: bool = False) -> pd.DataFrame:
    """Paired difference of Dice, two networks minus one, by bone (`dice_difference`).

    Args:
        run: the results.
        only_without_sacrum: on the slices that lack the sacrum only.
    """
    pair, single = pair_and_single(run)
    if only_without_sacrum:
        pair, single = lacking(pair, "sacrum"), lacking(single, "sacrum")
    return dice_difference(pair, single, run.study.diagnosis.bootstrap, subjects=subjects(run.cohort()))


def annotation_curve(run: Run) -> pd.DataFrame:
    """Held-out Dice over the number of annotated patients learnt from, of the rows with fewer and the study's own.

    Returns:
        `patients, bone, dice, low, high`; `patients` of several folds is their mean.
    """
    people, n, cohort = subjects(run.cohort()), run.study.diagnosis.bootstrap, run.cohort()
    folds = run.study.fold_numbers
    counts = [len(cohort.subset("bones", TRAIN, fold)) for fold in folds]
    parts = [dice_summary(own_slices(run, 1), n, subjects=people).assign(patients=round(sum(counts) / len(counts)))]
    for name in run.study.bone_variants:
        if bone_variant(name).patients:
            summary = dice_summary(variant_slices(run, name), n, subjects=people)
            parts.append(summary.assign(patients=bone_variant(name).patients))
    return pd.concat(parts, ignore_index=True)[["patients", "bone", "dice", "low", "high"]]


def rounds(run: Run) -> pd.DataFrame:
    """What each round of the increment accepted, and how well its networks segment whom nobody annotated.

    Returns:
        `round, bone, candidates, accepted, dice, low, high, dice_accepted, held_out`: Dice against the reference, which
        the simulator has for every patient and real scans only for the annotated: of all candidates (with interval by
        subject), of those accepted, and of the held-out annotated patients. Missing where there is no reference.
    """
    people, n = subjects(run.cohort()), run.study.diagnosis.bootstrap
    parts = []
    for round_number in range(1, run.study.increment.rounds + 1):
        table = pd.concat([_table(run, "dice.csv", round_number, fold) for fold in run.study.fold_numbers])
        candidates, accepted = candidates_of(run, round_number)
        summary = dice_summary(own_slices(run, round_number), 1)[["bone", "dice"]].rename(columns={"dice": "held_out"})
        theirs = dice_summary(table[table["patient"].isin(accepted)], 1)[["bone", "dice"]]
        summary = summary.merge(theirs.rename(columns={"dice": "dice_accepted"}), on="bone", how="left")
        everyone = dice_summary(table[table["patient"].isin(candidates)], n, subjects=people)
        summary = summary.merge(everyone[["bone", "dice", "low", "high"]], on="bone", how="left")
        parts.append(summary.assign(round=round_number, candidates=len(candidates), accepted=len(accepted)))
    columns = ["round", "bone", "candidates", "accepted", "dice", "low", "high", "dice_accepted", "held_out"]
    return pd.concat(parts, ignore_index=True)[columns]


def format_rounds(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `rounds` to read: who was tried, who was accepted, and Dice of each group by bone."""
    made = table[table["bone"].isin(["iliac", "sacrum"])].copy()
    tried = [with_interval(*row) for row in made[["dice", "low", "high"]].to_numpy(float)]
    unknown = made["dice"].isna()  # nobody's bones are known but those of the annotated
    made["all tried"] = pd.Series(tried, made.index).mask(unknown, "unknown")
    made["of the accepted"] = made["dice_accepted"].map("{:.2f}".format).mask(unknown, "unknown")
    made["of the held-out"] = made["held_out"].map("{:.2f}".format)
    columns = ["all tried", "of the accepted", "of the held-out"]
    wide = made.pivot(index="round", columns="bone", values=columns)
    shown = [(column, bone) for bone in ("iliac", "sacrum") for column in columns]
    wide = wide[shown].set_axis([f"{bone}: Dice {column}" for column, bone in shown], axis=1)
    counts = made.groupby("round")[["accepted", "candidates"]].first().to_numpy(int)
    wide.insert(0, "accepted", [share(int(part), int(whole)) for part, whole in counts])
    return wide.reset_index()


def candidates_of(run: Run, round_number: int | None = None) -> tuple[list[str], list[str]]:
    """Examinations without manual bones, and those of them that a round accepted (in every fold, where there are)."""
    round_number = round_number or run.study.increment.rounds
    grown = pd.concat([_table(run, "increment.csv", round_number, fold) for fold in run.study.fold_numbers])
    mine = grown[grown["source"] == "predicted"].groupby("patient")["accepted"].all()
    return sorted(mine.index), sorted(mine.index[mine])


def _table(run: Run, name: str, round_number: int, fold: int | None) -> pd.DataFrame:
    folder = run.layout.segmentation(run.study.training_cohort, round_number, fold)
    read_run(folder)
    return pd.read_csv(record_input(folder / name), dtype={"patient": str})


def unseen_slices(run: Run) -> pd.DataFrame:
    """Dice on everyone with a reference whom no network learnt from or was chosen on: rows of `dice_by_slice`.

    The simulator has a reference for every patient, so these are many more than the held-out annotated ones.
    """
    cohort, parts = run.cohort(), [own_slices(run)]
    if run.study.folds == 1:
        known = {patient for name in SUBSETS for patient in cohort.subset("bones", name)}
        table = dice(run, subset=None)
        parts.append(table[~table["patient"].isin(known)])
    return pd.concat(parts, ignore_index=True)


def by_scanner(run: Run) -> pd.DataFrame:
    """Dice of the unseen patients by manufacturer: `manufacturer, bone, patients, slices, dice, low, high`."""
    people, table = subjects(run.cohort()), unseen_slices(run)
    scanners = run.cohort().participants.set_index("patient")["manufacturer"]
    parts = [
        dice_summary(part, run.study.diagnosis.bootstrap, subjects=people).assign(manufacturer=name)
        for name, part in table.groupby(table["patient"].map(scanners))
    ]
    return pd.concat(parts, ignore_index=True)[["manufacturer", "bone", "patients", "slices", "dice", "low", "high"]]


def format_dice(table: pd.DataFrame, first: str) -> pd.DataFrame:
    """Rows with intervals as a table to read: one row for each of `first`, the bones beside each other.

    Args:
        table: from `comparison`, `by_scanner`, `rounds` or `annotation_curve`: `bone, dice, low, high`, and where there
            are differences `difference, difference_low, difference_high`.
        first: the column that names the rows.
    """
    made = table[table["bone"].isin(SHOWN)].copy()
    made["Dice"] = [with_interval(*row) for row in made[["dice", "low", "high"]].to_numpy(float)]
    values = ["Dice"]
    if "difference" in made:
        apart = made[["difference", "difference_low", "difference_high"]].to_numpy(float)
        made["difference"] = [format_difference(*row) for row in apart]
        values.append("difference")
    wide = made.pivot(index=first, columns="bone", values=values).reindex(made[first].drop_duplicates())
    shown = [(value, bone) for value in values for bone in SHOWN if (value, bone) in wide.columns]
    wide = wide[shown].set_axis([f"{SHOWN[bone]}: {value}" for value, bone in shown], axis=1)
    if "patients" in made and first != "patients":
        wide.insert(0, "patients", made.groupby(first)["patients"].max())
    return wide.reset_index()


def format_without_sacrum(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `without_sacrum` to read."""
    dice = [with_interval(*row) for row in table[["iliac", "low", "high"]].to_numpy(float)]
    wrong = [f"{100 * value:.0f} %" for value in table["called_sacrum"]]
    made = table[["networks", "slices", "patients"]]
    return made.assign(**{"iliac: Dice": dice, "called sacrum, of the ilium's area": wrong})


def format_difference(value: float, low: float, high: float) -> str:
    """A difference and its interval as text, empty where there is none.

    >>> format_difference(0.012, -0.001, 0.02), format_difference(float("nan"), 0, 0)
    ('+0.012 [−0.001, +0.020]', '')
    """
    if pd.isna(value):
        return ""
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")


def interpret_difference(differences: pd.DataFrame, bone: str, first: str, second: str) -> str:
    """A paired difference in a clause: how large, and whether its interval tells the two apart.

    Args:
        differences: from `dice_difference`, first minus second.
        bone: whose row.
        first: what the first are called.
        second: what the second are called.
    """
    rows = differences[differences["bone"] == bone]
    if rows.empty:
        return "not measured, since no slice allows it"
    row = rows.iloc[0]
    said = f"{format_difference(row['difference'], row['low'], row['high'])}: "
    if row["low"] > 0:
        return f"{said}{first} better than {second}"
    if row["high"] < 0:
        return f"{said}{second} better than {first}"
    return f"{said}this run cannot tell {first} from {second}"


def grown_difference(run: Run) -> pd.DataFrame:
    """Paired difference on the held-out patients, networks trained on the grown set minus those before (4.1)."""
    grown = variant_slices(run, "grown")
    return dice_difference(grown, own_slices(run, 1), run.study.diagnosis.bootstrap, subjects=subjects(run.cohort()))


def segmentation_cases(run: Run, slices: pd.DataFrame, rank: str = "worst", count: int = 4) -> list[Case]:
    """Slices to look at, by Dice.

    Args:
        run: the results.
        slices: rows of `Run.dice`.
        rank: `worst`, `median` or `best`, among slices that show the bone in the reference.
        count: how many, of as many different patients as there are.
    """
    shown = slices[(slices["tp"] + slices["fn"] > 0) & slices["bone"].isin(["sacrum", "iliac"])].dropna(subset="dice")
    ordered = shown.sort_values(["dice", "patient", "slice"], ascending=rank != "best", ignore_index=True)
    if rank == "median":
        ordered = ordered.iloc[(ordered.index - len(ordered) // 2).to_series().abs().argsort(kind="stable")]
    chosen = pd.concat([ordered.drop_duplicates("patient"), ordered]).drop_duplicates(["patient", "slice"]).head(count)
    cohort = run.cohort()
    cases = []
    for row in chosen.to_dict("records"):
        patient, place = row["patient"], int(row["slice"])
        t1, reference = cohort.volume(patient, "T1"), cohort.reference_bones(patient)
        cases.append(
            Case(
                f"{patient}, slice {place}\n{row['bone']} {row['dice']:.2f}",
                t1.array[place],
                bones(run, patient).array[place],
                None if reference is None else reference.array[place],
                t1.spacing[1:],
            )
        )
    return cases


def networks(run: Run) -> tuple[str, ...]:
    """Names of the bone networks trained."""
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
    """Who joined the annotated set."""
    return segmentation_table(run, "increment.csv", cohort, round_number)


def fold_of(run: Run, patient: str, cohort: str | None = None) -> int | None:
    """The fold in which a patient is tested; the first for other cohorts, None without folds."""
    name = cohort or run.study.training_cohort
    if run.study.folds == 1 or name != run.study.training_cohort:
        return run.first_fold(None)
    splits = run.cohort(name).splits
    return int(splits.loc[splits["patient"] == patient, "fold"].iloc[0])


def segmentation_folder(run: Run, cohort: str | None, round_number: int | None, fold: int | None) -> Path:
    name = cohort or run.study.training_cohort
    return run.finished(run.layout.segmentation(name, round_number or run.study.increment.rounds, fold))


def segmentation_table(run: Run, name: str, cohort: str | None, round_number: int | None) -> pd.DataFrame:
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
    folder = segmentation_folder(run, cohort, round_number, fold_of(run, patient, cohort))
    return read_volume(found(folder / f"{patient}_desc-{kind}_dseg.nii.gz"))
