"""Each claim of the paper beside its published figure, the phantom's, the public real data's, and a computed verdict.

Three rules, stated with every claim, turn an interval into a verdict:

- `greater`: holds when the whole interval lies above the limit, does not when the whole interval lies below it;
- `close`: the same with a limit of -MARGIN: worse by less than the margin;
- anything else, and a figure that is absent: cannot be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.readings import CONSENSUS, ENSEMBLE, MODEL
from axspa_lib.stats import Interval
from axspa_lib.study.errors import DataError
from axspa_lib.study.published import published, published_dice, published_number

HOLDS, FAILS, OPEN = "holds", "does not", "cannot be told"

#: Points of MCC × 100 by which something called "close" or "on par" may be worse; the paper gives none.
MARGIN = 10.0

#: Share of patients (per cent) that counts as high success of the increment; the paper has 86 %.
HIGH_SUCCESS = 80.0


@dataclass(frozen=True)
class Claim:
    """A claim: what is measured, where the paper makes it, and the limit the interval is held against."""

    key: str
    text: str
    section: str
    measure: str
    rule: Literal["greater", "close"]
    limit: float

    def verdict(self, found: Interval | None) -> str:
        """`holds`, `does not` or `cannot be told`."""
        if found is None or not np.isfinite([found.value, found.low, found.high]).all():
            return OPEN
        if found.low > self.limit:
            return HOLDS
        return FAILS if found.high < self.limit else OPEN

    @property
    def stated_rule(self) -> str:
        """The rule in words."""
        return f"holds if the 95 % interval lies above {self.limit:g}, does not if it lies below"


CLAIMS = (
    Claim("two_networks", "Two independent U-Nets do better than one for both bones", "5.1",
          "Dice × 100, two less one", "greater", 0),
    Claim("iliac_easier", "The iliac bone is segmented better than the sacrum", "4.1",
          "Dice × 100, iliac less sacrum", "greater", 0),
    Claim("increment", "The increment grows the annotated set at high success", "4.1",
          "patients accepted, %", "greater", HIGH_SUCCESS),
    Claim("half_slices", "The model is close to the readers on half-slices", "4.2, Table 1",
          "MCC × 100, models with consensus less the least agreeing readers", "close", -MARGIN),
    Claim("patients", "The ensemble is on par with the readers on patients", "5.2, Table 2",
          "MCC × 100, ensemble with consensus less the least agreeing readers", "close", -MARGIN),
    Claim("ensemble", "The ensemble does better than its single models", "4.2, Table 2",
          "MCC × 100, ensemble less mean of members", "greater", 0),
    Claim("ensemble_other", "The ensemble does better than its single models in the second cohort", "Table 3",
          "MCC × 100, ensemble less mean of members", "greater", 0),
    Claim("transfer", "It transfers to the second cohort without retraining: on par with readers there", "5.2, Table 3",
          "MCC × 100, ensemble with consensus less the least agreeing readers", "close", -MARGIN),
    Claim("transfer_loss", "The transfer costs performance", "5.2, Tables 2 and 3",
          "MCC × 100, own cohort less the second", "greater", 0),
    Claim("preprocessing", "Preprocessing matters more in the second cohort than in the own one", "5.2, Table 4",
          "MCC × 100, mean loss without a step, second cohort less own", "greater", 0),
    Claim("annotations", "Annotation augmentation matters most (own cohort)", "5.2, Table 4",
          "MCC × 100, loss without it less the largest other loss", "greater", 0),
    Claim("annotations_other", "Annotation augmentation matters most (second cohort)", "5.2, Table 4",
          "MCC × 100, loss without it less the largest other loss", "greater", 0),
)  # fmt: skip


def findings(
    phantom: Mapping[str, Interval | None] | None = None, public: Mapping[str, Interval | None] | None = None
) -> pd.DataFrame:
    """One row per claim: published figure, ours on the phantom and on public real data, rules and verdicts.

    Args:
        phantom: claim's key → interval, from `axspa_lib.findings.evidence`, on the phantom.
        public: the same on public real MRI.

    Raises:
        DataError: a key that is no claim's.
    """
    known = {claim.key for claim in CLAIMS}
    for given in (phantom, public):
        unknown = sorted(set(given or {}) - known)
        if unknown:
            raise DataError(f"{unknown[0]!r} is no claim: use one of {', '.join(sorted(known))}")
    printed = published_evidence()
    rows = []
    for claim in CLAIMS:
        ours = {"phantom": (phantom or {}).get(claim.key), "public": (public or {}).get(claim.key)}
        row: dict[str, object] = {
            "key": claim.key,
            "claim": claim.text,
            "section": claim.section,
            "measure": claim.measure,
            "published": printed.get(claim.key, np.nan),
            "rule": claim.stated_rule,
        }
        for source, found in ours.items():
            row |= {
                source: np.nan if found is None else found.value,
                f"{source}_low": np.nan if found is None else found.low,
                f"{source}_high": np.nan if found is None else found.high,
                f"{source}_n": 0 if found is None else found.patients,
                f"{source}_verdict": claim.verdict(found),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def published_evidence() -> dict[str, float]:
    """The paper's own figure of each claim's measure, from its tables and section 4.1; `two_networks` has none."""
    half, patients, other = (_figures(table) for table in (1, 2, 3))
    ablation = _figures(4)
    losses = {
        cohort: {row: ablation["All included", cohort] - value for (row, column), value in ablation.items()
                 if column == cohort and row != "All included"}
        for cohort in ("ASAS", "DESIR")
    }  # fmt: skip
    steps = ("No Constant Pixel", "No Remove Gaussian Bias", "No Local Median", "No CLAHE")
    mean_loss = {cohort: np.mean([losses[cohort][step] for step in steps]) for cohort in losses}
    lead = {
        cohort: values["Only manually"] - max(loss for row, loss in values.items() if row != "Only manually")
        for cohort, values in losses.items()
    }
    return {
        "iliac_easier": 100 * (published_dice()["iliac"] - published_dice()["sacrum"]),
        "increment": 100 * published_number("patients_accepted") / published_number("patients_remaining"),
        "half_slices": half[CONSENSUS, MODEL] - _least(half),
        "patients": patients["mcc", ENSEMBLE] - min(patients["mcc", f"{pair}"] for pair in _pairs(patients)),
        "ensemble": patients["mcc", ENSEMBLE] - patients["mcc", MODEL],
        "ensemble_other": other[CONSENSUS, ENSEMBLE] - other[CONSENSUS, MODEL],
        "transfer": other[CONSENSUS, ENSEMBLE] - _least(other),
        "transfer_loss": patients["mcc", ENSEMBLE] - other[CONSENSUS, ENSEMBLE],
        "preprocessing": float(mean_loss["ASAS"] - mean_loss["DESIR"]),
        "annotations": lead["DESIR"],
        "annotations_other": lead["ASAS"],
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Findings as text fit for a page: claim, published, phantom, public real data, verdicts."""
    columns = {"claim": table["claim"], "section": table["section"], "measure": table["measure"]}
    signs = ["" if "%" in measure else "+" for measure in table["measure"]]  # a share has no sign, a difference has
    columns["published"] = pd.Series(
        [f"{value:{sign}.1f}" if np.isfinite(value) else "no figure"
         for value, sign in zip(table["published"], signs, strict=True)], index=table.index,
    )  # fmt: skip
    for source, title in (("phantom", "phantom"), ("public", "public real MRI")):
        figures = zip(table[source], table[f"{source}_low"], table[f"{source}_high"], signs, strict=True)
        columns[title] = pd.Series([_text(*figure) for figure in figures], index=table.index)
        columns[f"{title}: verdict"] = table[f"{source}_verdict"]
    columns["rule"] = table["rule"]
    return pd.DataFrame(columns)


def _text(value: float, low: float, high: float, sign: str = "+") -> str:
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]" if np.isfinite(value) else "not measured"


def _figures(table: int) -> dict[tuple[str, str], float]:
    paper = published(table)
    return {
        (row, column): float(value)
        for row, column, value in zip(paper["row"], paper["column"], paper["value"], strict=True)
    }


def _least(figures: Mapping[tuple[str, str], float]) -> float:
    return min(
        value for (row, column), value in figures.items() if row != CONSENSUS and column not in (MODEL, ENSEMBLE)
    )


def _pairs(figures: Mapping[tuple[str, str], float]) -> list[str]:
    return [column for _, column in figures if " vs " in column]
