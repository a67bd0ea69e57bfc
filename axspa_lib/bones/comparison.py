"""Compare the bone networks: variants, one network against two, annotated patients, rounds of the increment."""

from __future__ import annotations

import pandas as pd

from axspa_lib.bones.dice import dice_difference, dice_summary, lacking
from axspa_lib.bones.results import (
    OWN,
    all_slices,
    candidates_of,
    own_slices,
    round_table,
    subjects,
    unseen_slices,
    variant_slices,
)
from axspa_lib.bones.variants import bone_variant
from axspa_lib.study.formatting import share, with_interval
from axspa_lib.study.labels import TRAIN
from axspa_lib.study.results import Run

#: Bones of the tables to read, by name in the rows.
SHOWN = {"iliac": "iliac", "sacrum": "sacrum", "any": "all bone"}


def comparison(run: Run, against: str | None = None) -> pd.DataFrame:
    """Compare every variant with other networks, on the same held-out patients, by bone.

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
    """Return held-out Dice of two networks and of one, trained alike (section 5.1)."""
    alike = "pair_anew" if "pair_anew" in run.study.bone_variants else None
    return own_slices(run) if alike is None else variant_slices(run, alike), variant_slices(run, "single")


def without_sacrum(run: Run) -> pd.DataFrame:
    """Compare two networks with one on slices that lack the sacrum, where the paper says that one fails (5.1).

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
    """Return the paired difference of Dice, two networks minus one, by bone (`dice_difference`).

    Args:
        run: the results.
        only_without_sacrum: on the slices that lack the sacrum only.
    """
    pair, single = pair_and_single(run)
    if only_without_sacrum:
        pair, single = lacking(pair, "sacrum"), lacking(single, "sacrum")
    return dice_difference(pair, single, run.study.diagnosis.bootstrap, subjects=subjects(run.cohort()))


def annotation_curve(run: Run) -> pd.DataFrame:
    """Return held-out Dice over the number of annotated patients learnt from, of the study and of rows with fewer.

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
    """Return what each round of the increment accepted, and how well it segments patients without manual bones.

    Returns:
        `round, bone, candidates, accepted, dice, low, high, dice_accepted, held_out`: Dice against the reference, which
        the simulator has for every patient and real scans only for the annotated: of all candidates (with interval by
        subject), of those accepted, and of the held-out annotated patients. Missing where there is no reference.
    """
    people, n = subjects(run.cohort()), run.study.diagnosis.bootstrap
    parts = []
    for round_number in range(1, run.study.increment.rounds + 1):
        table = pd.concat([round_table(run, "dice.csv", round_number, fold) for fold in run.study.fold_numbers])
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
    """Format the table of `rounds`: who was tried, who was accepted, and Dice of each group by bone."""
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


def by_scanner(run: Run) -> pd.DataFrame:
    """Return Dice of the unseen patients by manufacturer: `manufacturer, bone, patients, slices, dice, low, high`."""
    people, table = subjects(run.cohort()), unseen_slices(run)
    scanners = run.cohort().participants.set_index("patient")["manufacturer"]
    parts = [
        dice_summary(part, run.study.diagnosis.bootstrap, subjects=people).assign(manufacturer=name)
        for name, part in table.groupby(table["patient"].map(scanners))
    ]
    return pd.concat(parts, ignore_index=True)[["manufacturer", "bone", "patients", "slices", "dice", "low", "high"]]


def format_dice(table: pd.DataFrame, first: str) -> pd.DataFrame:
    """Format rows with intervals: one row for each of `first`, the bones beside each other.

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
    """Format the table of `without_sacrum`."""
    dice = [with_interval(*row) for row in table[["iliac", "low", "high"]].to_numpy(float)]
    wrong = [f"{100 * value:.0f} %" for value in table["called_sacrum"]]
    made = table[["networks", "slices", "patients"]]
    return made.assign(**{"iliac: Dice": dice, "called sacrum, of the ilium's area": wrong})


def format_difference(value: float, low: float, high: float) -> str:
    """Format a difference and its interval, empty where there is none.

    >>> format_difference(0.012, -0.001, 0.02), format_difference(float("nan"), 0, 0)
    ('+0.012 [−0.001, +0.020]', '')
    """
    if pd.isna(value):
        return ""
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")


def interpret_difference(differences: pd.DataFrame, bone: str, first: str, second: str) -> str:
    """Interpret a paired difference in a clause: how large, and whether its interval excludes 0.

    Args:
        differences: from `dice_difference`, first minus second.
        bone: whose row.
        first: name of the first.
        second: name of the second.
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
