"""What the figures of one published table imply together, as rows of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations

import numpy as np

from axspa_lib.audit import joint
from axspa_lib.audit.enumeration import coefficient, matrices, printed
from axspa_lib.audit.rows import NO, OPEN, VERDICT, YES, Row, entries, listed, mean_row, ranges, row_of, some
from axspa_lib.labels import READERS_ASAS, READERS_DESIR
from axspa_lib.tables.cells import CONSENSUS, ENSEMBLE, MODEL

#: Patients on whom all readers agree and whose sequences are registered (section 2).
COHORT = 288


def table1_joint() -> list[Row]:
    """Pairs of three readers on the same half-slices, and the agreement of each with their majority."""
    table = {(entry["row"], entry["column"]): entry for entry in entries(1)}
    n = int(table["1", "2"]["n"])
    pairs = {pair: printed(table[pair]["value"]) for pair in combinations(READERS_DESIR, 2)}
    triples = joint.three_readers(n, *pairs.values())
    agreement = joint.majority_agreement(n, triples)
    together = ", ".join(figure.text for figure in pairs.values())
    rows = [
        row_of(
            *(1, "joint", "pairs of readers", together, n, YES if triples else NO, _positives(n, triples)),
            "the three figures can come from the same half-slices; structures up to exchange of the classes",
        )
    ]
    for position, reader in enumerate(READERS_DESIR):
        figure, values = printed(table[CONSENSUS, reader]["value"]), agreement[:, position]
        fits = bool(figure.holds(values).any())
        outside = figure.low > values.max() or figure.high < values.min()
        remark = (
            f"if the three readers read the same {n} half-slices, their pairwise figures put the agreement of their "
            f"majority with reader {reader} between {values.min():.2f} and {values.max():.2f}"
        )
        if not fits:
            remark += "; the printed figure lies outside" if outside else "; no structure gives the printed figure"
            remark += ", so it rests on other half-slices or on another consensus"
        found = f"{len(values)} structures tried"
        rows.append(row_of(1, "joint: majority", reader, figure.text, n, YES if fits else NO, found, remark))
    positives = triples[0].positives[0]
    for entry in table.values():
        if entry["sd"]:
            verdict = _members_alone(n, positives, entry)
            remark = f"tried with {positives} inflamed half-slices in the reference"
            rows.append(mean_row(1, entry, verdict if verdict == "feasible" else "undecided", remark))
    return rows


def table2_joint() -> list[Row]:
    """Pairs of readers on the original patients; what the ensemble's figure and Table 4 leave for the patients."""
    table = {entry["column"]: entry for entry in entries(2)}
    pairs = [table[f"{first} vs {second}"] for first, second in combinations(READERS_DESIR, 2)]
    n = int(pairs[0]["n"])
    triples = joint.three_readers(n, *(printed(entry["value"]) for entry in pairs))
    agree = [triple.unanimous(n) for triple in triples]
    together = ", ".join(entry["value"] for entry in pairs)
    rows = [
        row_of(
            *(2, "joint", "pairs of readers", together, n, YES if triples else NO, _positives(n, triples)),
            f"the three figures can come from the same patients; all readers then agree on {min(agree)} to "
            f"{max(agree)} of {n}, so at least {min(agree) - COHORT} of these patients are not among the {COHORT} for "
            "another reason, such as the registration of the sequences (section 2)",
        )
    ]
    model, vote = table[MODEL], table[ENSEMBLE]
    stated = int(vote["n"])
    for cases in (stated, stated - 1):
        classes = [p for p in range(2, cases // 2 + 1) if _members_alone(cases, p, model) == "feasible"]
        verdict = "feasible" if classes else "infeasible"
        remark = f"possible with {ranges(classes)} patients of the smaller class"
        rows.append(mean_row(2, model | {"n": str(cases)}, verdict, remark))
        found = matrices(cases, printed(vote["value"]))
        smaller = {min(p, cases - p) for p in (found[:, 0] + found[:, 3]).tolist()}
        fitting = sorted(smaller & set(classes) & set(_table4_classes(cases)))
        rows.append(
            row_of(
                *(2, "joint", f"{ENSEMBLE}, {MODEL} and Table 4", vote["value"], cases, YES if fitting else NO),
                listed(found),
                f"errors: {ranges(sorted(set((found[:, 2] + found[:, 3]).tolist())))}; patients of the smaller class "
                f"that also allow {MODEL} and the DESIR column of Table 4: {ranges(fitting)}",
            )
        )
    return rows


@cache
def table3_structure() -> tuple[int, dict[str, int], joint.Groups | None]:
    """Positives of the ensemble and of each reader, and who calls which patients positive, from Table 3 alone.

    Of the two mirror images the one with fewer positives is given.
    """
    table = entries(3)
    n = int(table[0]["n"])
    figures = {(entry["row"], entry["column"]): printed(entry["value"]) for entry in table if not entry["sd"]}
    raters = (*READERS_ASAS, CONSENSUS)
    found = joint.shared_margin(n, {name: figures[name, ENSEMBLE] for name in raters})
    predicted = min(found)
    positives = {name: int(every[0, 0] + every[0, 3]) for name, every in found[predicted].items()}
    pairs = {key: figure for key, figure in figures.items() if key[1] != ENSEMBLE}
    overlaps = joint.overlaps(n, pairs, positives)
    overlaps |= {(name, ENSEMBLE): found[predicted][name][:, 0].tolist() for name in raters}
    if any(len(choices) != 1 for choices in overlaps.values()):
        return predicted, positives, None
    structure = joint.groups(n, positives | {ENSEMBLE: predicted}, overlaps, CONSENSUS, READERS_ASAS)
    return predicted, positives, structure


def table3_joint() -> list[Row]:
    """One ensemble against six readers and their consensus: the structure is determined, and tested on its members."""
    table = {(entry["row"], entry["column"]): entry for entry in entries(3)}
    n = int(table["1", "2"]["n"])
    predicted, positives, structure = table3_structure()
    counts = ", ".join(f"{name}: {count}" for name, count in positives.items())
    rows = [
        row_of(
            *(3, "joint", ENSEMBLE, "seven figures", n, YES, f"positives of {counts}"),
            f"one number of positives of the ensemble fits every row: {predicted} (or, classes exchanged, "
            f"{n - predicted}); it fixes the positives of every reader and the matrix of every row",
        )
    ]
    if structure is None or not structure.unique:
        return rows
    plain = sum(not entry["sd"] for entry in table.values())
    rows += [
        row_of(
            *(3, "joint", "all figures without ±", f"{plain} figures", n, YES, described(structure)),
            "every pair of readers then has one possible overlap, and one division of the patients satisfies all "
            "figures: listed are the groups of patients by who calls them positive",
        ),
        row_of(
            *(3, "joint", "ties of the consensus", "", n, YES, _ties(structure)),
            "in the only structure that fits, a tie of three readers against three counts as positive",
        ),
    ]
    means = {row: (printed(e["value"]), printed(e["sd"])) for (row, column), e in table.items() if column == MODEL}
    for row, figures in means.items():
        verdict = joint.members(n, structure, {row: figures})
        remark = f"{positives[row]} positives in the reference; {_vote_bound(n, positives[row], table[row, ENSEMBLE])}"
        rows.append(mean_row(3, table[row, MODEL], verdict, remark))
    readers = {row: figures for row, figures in means.items() if row != CONSENSUS}
    everything = [joint.members(n, structure, means, sample=sample, whole=False) for sample in (True, False)]
    without = [joint.members(n, structure, readers, sample=sample) for sample in (True, False)]
    rows += [
        row_of(
            *(3, "joint", f"{MODEL}, all rows", f"{len(means)} means ± deviations", n, _both(everything), ""),
            "with the structure above, whether ten predictions of these patients have all means and deviations, "
            "fractions of predictions allowed, the deviation being that of a sample or of a population",
        ),
        row_of(
            *(3, "joint", f"{MODEL}, readers only", f"{len(readers)} means ± deviations", n, _both(without), ""),
            "the same without the consensus, whole predictions only; other numbers of models or patients, or another "
            "decision rule for the single models, remain possible",
        ),
    ]
    return rows


def table4_joint() -> list[Row]:
    """Ensembles of the ablations against one reference per cohort."""
    _, positives, _ = table3_structure()
    agreed = positives[CONSENSUS]
    rows = []
    for entry in entries(4):
        if entry["column"] == "ASAS":
            found = matrices(int(entry["n"]), printed(entry["value"]), agreed)
            attainable, remark = YES if len(found) else NO, f"with the {agreed} positives of the consensus of Table 3"
            place = (4, f"joint: {entry['row']}", "ASAS", entry["value"], entry["n"])
            rows.append(row_of(*place, attainable, listed(found, exchange=False), remark))
    column = [entry for entry in entries(4) if entry["column"] == "DESIR"]
    classes = _table4_classes(int(column[0]["n"]))
    figures = ", ".join(sorted({entry["value"] for entry in column}))
    rows.append(
        row_of(
            *(4, "joint", "DESIR", figures, column[0]["n"], YES if classes else NO, ""),
            f"patients of the smaller class that allow every figure of the column: {ranges(classes)}",
        )
    )
    return rows


def described(structure: joint.Groups) -> str:
    """Groups of patients by who calls them positive, as text."""
    parts = []
    for pattern, count in zip(structure.patterns, structure.most, strict=True):
        names = [name for name, says in zip(structure.raters, pattern, strict=True) if says]
        parts.append(f"{count} by {' '.join(names) if names else 'nobody'}")
    return "; ".join(parts)


def _table4_classes(cases: int) -> list[int]:
    """Numbers of positives, up to half, with which every DESIR figure of Table 4 is attainable."""
    figures = {entry["value"] for entry in entries(4) if entry["column"] == "DESIR"}
    return [p for p in range(1, cases // 2 + 1) if all(len(matrices(cases, printed(text), p)) for text in figures)]


def _vote_bound(n: int, positives: int, vote: dict[str, str]) -> str:
    """A vote of k is wrong only where half of them are: what that leaves for the mean of the members."""
    errors = int(matrices(n, printed(vote["value"]), positives)[0, 2:].sum())
    tp, fp = np.meshgrid(np.arange(positives + 1), np.arange(n - positives + 1), indexing="ij")
    values = coefficient(n, positives, tp + fp, tp)
    best = joint.best_mean(values.ravel(), (positives - tp + fp).ravel().astype(float), errors / 2)
    return f"the vote's {errors} errors need {errors / 2:g} per member on average, so their mean is {best:.2f} at most"


def _members_alone(n: int, positives: int, entry: dict[str, str]) -> str:
    """Whether k predictions compared with one reference have the printed mean and deviation (of a sample)."""
    counts = np.array([n - positives, positives])
    single = joint.Groups(("reference",), np.array([[0], [1]]), counts, counts)
    figures = printed(entry["value"]), printed(entry["sd"])
    return joint.members(n, single, {"reference": figures}, int(entry["k"]))


def _positives(n: int, triples: Sequence[joint.Triple]) -> str:
    """Positives of the three readers in every structure, of two mirror images the one with fewer."""
    return some([f"positives {t.positives}" for t in triples if 2 * sum(t.positives) <= 3 * n], 8)


def _ties(structure: joint.Groups) -> str:
    readers = [structure.raters.index(name) for name in READERS_ASAS]
    tied = 2 * structure.patterns[:, readers].sum(axis=1) == len(readers)
    positive = structure.patterns[:, structure.raters.index(CONSENSUS)] == 1
    return f"{structure.most[tied].sum()} ties, {structure.most[tied & positive].sum()} of them positive"


def _both(verdicts: Sequence[str]) -> str:
    return VERDICT[verdicts[0]] if len(set(verdicts)) == 1 else OPEN
