"""Stored results of the bone networks compared: the study's own, its variants, and the rounds of the increment."""

from __future__ import annotations

import pandas as pd

from axspa_lib.bone_variants import bone_variant
from axspa_lib.cohort import Cohort
from axspa_lib.dice import dice_difference, dice_summary, lacking
from axspa_lib.labels import SUBSETS, TEST, TRAIN
from axspa_lib.results import Results, share, with_interval
from axspa_lib.runs import noted, read_run

#: What the tables call the study's own networks.
OWN = "two networks (this study)"

#: Bones of the tables to read, by name in the rows.
SHOWN = {"iliac": "iliac", "sacrum": "sacrum", "any": "all bone"}


def own_slices(stored: Results, round_: int | None = None) -> pd.DataFrame:
    """Dice of the study's own networks on every held-out patient, each segmented by the fold that never saw them.

    Args:
        stored: the results.
        round_: of the increment; the last when None.

    Returns:
        Rows of `dice_by_slice`.
    """
    cohort = stored.cohort()
    parts = []
    for fold in stored.study.fold_numbers:
        table = _table(stored, "dice.csv", round_ or stored.study.increment.rounds, fold)
        parts.append(table[table["patient"].isin(cohort.subset("bones", TEST, fold))])
    return pd.concat(parts, ignore_index=True)


def variant_slices(stored: Results, name: str) -> pd.DataFrame:
    """The same of one row of `bone_variants.yaml`.

    Raises:
        MissingResultError: it has not been computed.
    """
    parts = []
    for fold in stored.study.fold_numbers if bone_variant(name).folded else (None,):
        folder = stored.layout.bone_variant(name, fold)
        read_run(folder)
        parts.append(pd.read_csv(noted(folder / "dice.csv"), dtype={"patient": str}))
    return pd.concat(parts, ignore_index=True)


def all_slices(stored: Results) -> dict[str, pd.DataFrame]:
    """Dice on held-out patients of the study's own networks and of every row of the profile, by label."""
    rows = {bone_variant(name).label: variant_slices(stored, name) for name in stored.study.bone_variants}
    return {OWN: own_slices(stored)} | rows


def subjects(cohort: Cohort) -> dict[str, str]:
    """The person of every examination."""
    return dict(zip(cohort.participants["patient"], cohort.participants["subject"], strict=True))


def comparison(stored: Results, against: str | None = None) -> pd.DataFrame:
    """Every variant beside the networks it is compared with, on the same held-out patients, by bone.

    Args:
        stored: the results.
        against: the row compared with; the study's own networks when None.

    Returns:
        `networks, bone, patients, dice, low, high, difference, difference_low, difference_high, p_value`; intervals and
        permutation test by subject; the difference is the variant's minus the other's, missing for the other itself.
    """
    people, n = subjects(stored.cohort()), stored.study.diagnosis.bootstrap
    slices = all_slices(stored)
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


def pair_and_single(stored: Results) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Held-out Dice of two networks and of one, trained alike (section 5.1)."""
    alike = "pair_anew" if "pair_anew" in stored.study.bone_variants else None
    return own_slices(stored) if alike is None else variant_slices(stored, alike), variant_slices(stored, "single")


def without_sacrum(stored: Results) -> pd.DataFrame:
    """Two networks against one on the slices that lack the sacrum, where the paper says that one fails (section 5.1).

    Returns:
        `networks, slices, patients, iliac, low, high, called_sacrum`: Dice of the iliac bones on those slices with its
        interval by subject, and the area wrongly called sacrum as a share of the ilium's.
    """
    people, n = subjects(stored.cohort()), stored.study.diagnosis.bootstrap
    rows = []
    for name, table in zip(("two networks", "one network"), pair_and_single(stored), strict=True):
        without = lacking(table, "sacrum")
        sums = without.groupby("bone")[["tp", "fp", "fn"]].sum().reindex(["sacrum", "iliac"], fill_value=0)
        ilium = float(sums["tp"]["iliac"] + sums["fn"]["iliac"])
        wrong = float(sums["fp"]["sacrum"]) / ilium if ilium else float("nan")
        found = dice_summary(without, n, subjects=people)
        found = found[found["bone"] == "iliac"].drop(columns="bone").rename(columns={"dice": "iliac"})
        rows.append(found.assign(networks=name, called_sacrum=wrong))
    columns = ["networks", "slices", "patients", "iliac", "low", "high", "called_sacrum"]
    return pd.concat(rows, ignore_index=True)[columns]


def single_difference(stored: Results, only_without_sacrum: bool = False) -> pd.DataFrame:
    """Paired difference of Dice, two networks minus one, by bone (`dice_difference`).

    Args:
        stored: the results.
        only_without_sacrum: on the slices that lack the sacrum only.
    """
    pair, single = pair_and_single(stored)
    if only_without_sacrum:
        pair, single = lacking(pair, "sacrum"), lacking(single, "sacrum")
    return dice_difference(pair, single, stored.study.diagnosis.bootstrap, subjects=subjects(stored.cohort()))


def annotation_curve(stored: Results) -> pd.DataFrame:
    """Held-out Dice over the number of annotated patients learnt from, of the rows with fewer and the study's own.

    Returns:
        `patients, bone, dice, low, high`; `patients` of several folds is their mean.
    """
    people, n, cohort = subjects(stored.cohort()), stored.study.diagnosis.bootstrap, stored.cohort()
    folds = stored.study.fold_numbers
    counts = [len(cohort.subset("bones", TRAIN, fold)) for fold in folds]
    parts = [dice_summary(own_slices(stored, 1), n, subjects=people).assign(patients=round(sum(counts) / len(counts)))]
    for name in stored.study.bone_variants:
        if bone_variant(name).patients:
            summary = dice_summary(variant_slices(stored, name), n, subjects=people)
            parts.append(summary.assign(patients=bone_variant(name).patients))
    return pd.concat(parts, ignore_index=True)[["patients", "bone", "dice", "low", "high"]]


def rounds(stored: Results) -> pd.DataFrame:
    """What each round of the increment accepted, and how well its networks segment whom nobody annotated.

    Returns:
        `round, bone, candidates, accepted, dice, low, high, dice_accepted, held_out`: Dice against the reference, which
        the simulator has for every patient and real scans only for the annotated: of all candidates (with interval by
        subject), of those accepted, and of the held-out annotated patients. Missing where there is no reference.
    """
    people, n = subjects(stored.cohort()), stored.study.diagnosis.bootstrap
    parts = []
    for round_ in range(1, stored.study.increment.rounds + 1):
        table = pd.concat([_table(stored, "dice.csv", round_, fold) for fold in stored.study.fold_numbers])
        candidates, accepted = candidates_of(stored, round_)
        summary = dice_summary(own_slices(stored, round_), 1)[["bone", "dice"]].rename(columns={"dice": "held_out"})
        theirs = dice_summary(table[table["patient"].isin(accepted)], 1)[["bone", "dice"]]
        summary = summary.merge(theirs.rename(columns={"dice": "dice_accepted"}), on="bone", how="left")
        everyone = dice_summary(table[table["patient"].isin(candidates)], n, subjects=people)
        summary = summary.merge(everyone[["bone", "dice", "low", "high"]], on="bone", how="left")
        parts.append(summary.assign(round=round_, candidates=len(candidates), accepted=len(accepted)))
    columns = ["round", "bone", "candidates", "accepted", "dice", "low", "high", "dice_accepted", "held_out"]
    return pd.concat(parts, ignore_index=True)[columns]


def rounds_in_words(table: pd.DataFrame) -> pd.DataFrame:
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


def candidates_of(stored: Results, round_: int | None = None) -> tuple[list[str], list[str]]:
    """Examinations without manual bones, and those of them that a round accepted (in every fold, where there are)."""
    round_ = round_ or stored.study.increment.rounds
    grown = pd.concat([_table(stored, "increment.csv", round_, fold) for fold in stored.study.fold_numbers])
    mine = grown[grown["source"] == "predicted"].groupby("patient")["accepted"].all()
    return sorted(mine.index), sorted(mine.index[mine])


def _table(stored: Results, name: str, round_: int, fold: int | None) -> pd.DataFrame:
    folder = stored.layout.segmentation(stored.study.training_cohort, round_, fold)
    read_run(folder)
    return pd.read_csv(noted(folder / name), dtype={"patient": str})


def unseen_slices(stored: Results) -> pd.DataFrame:
    """Dice on everyone with a reference whom no network learnt from or was chosen on: rows of `dice_by_slice`.

    The simulator has a reference for every patient, so these are many more than the held-out annotated ones.
    """
    cohort, parts = stored.cohort(), [own_slices(stored)]
    if stored.study.folds == 1:
        known = {patient for name in SUBSETS for patient in cohort.subset("bones", name)}
        table = stored.dice(subset=None)
        parts.append(table[~table["patient"].isin(known)])
    return pd.concat(parts, ignore_index=True)


def by_scanner(stored: Results) -> pd.DataFrame:
    """Dice of the unseen patients by manufacturer: `manufacturer, bone, patients, slices, dice, low, high`."""
    people, table = subjects(stored.cohort()), unseen_slices(stored)
    scanners = stored.cohort().participants.set_index("patient")["manufacturer"]
    parts = [
        dice_summary(part, stored.study.diagnosis.bootstrap, subjects=people).assign(manufacturer=name)
        for name, part in table.groupby(table["patient"].map(scanners))
    ]
    return pd.concat(parts, ignore_index=True)[["manufacturer", "bone", "patients", "slices", "dice", "low", "high"]]


def in_words(table: pd.DataFrame, first: str) -> pd.DataFrame:
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
        made["difference"] = [signed(*row) for row in apart]
        values.append("difference")
    wide = made.pivot(index=first, columns="bone", values=values).reindex(made[first].drop_duplicates())
    shown = [(value, bone) for value in values for bone in SHOWN if (value, bone) in wide.columns]
    wide = wide[shown].set_axis([f"{SHOWN[bone]}: {value}" for value, bone in shown], axis=1)
    if "patients" in made and first != "patients":
        wide.insert(0, "patients", made.groupby(first)["patients"].max())
    return wide.reset_index()


def lacking_in_words(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `without_sacrum` to read."""
    dice = [with_interval(*row) for row in table[["iliac", "low", "high"]].to_numpy(float)]
    wrong = [f"{100 * value:.0f} %" for value in table["called_sacrum"]]
    made = table[["networks", "slices", "patients"]]
    return made.assign(**{"iliac: Dice": dice, "called sacrum, of the ilium's area": wrong})


def signed(value: float, low: float, high: float) -> str:
    """A difference and its interval as text, empty where there is none.

    >>> signed(0.012, -0.001, 0.02), signed(float("nan"), 0, 0)
    ('+0.012 [−0.001, +0.020]', '')
    """
    if pd.isna(value):
        return ""
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")


def verdict(differences: pd.DataFrame, bone: str, first: str, second: str) -> str:
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
    said = f"{signed(row['difference'], row['low'], row['high'])}: "
    if row["low"] > 0:
        return f"{said}{first} better than {second}"
    if row["high"] < 0:
        return f"{said}{second} better than {first}"
    return f"{said}this run cannot tell {first} from {second}"


def grown_difference(stored: Results) -> pd.DataFrame:
    """Paired difference on the held-out patients, networks trained on the grown set minus those before (4.1)."""
    grown = variant_slices(stored, "grown")
    return dice_difference(
        grown, own_slices(stored, 1), stored.study.diagnosis.bootstrap, subjects=subjects(stored.cohort())
    )
