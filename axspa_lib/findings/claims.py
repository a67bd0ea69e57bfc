"""Each claim of the paper beside its published figure, the phantom's, the public real data's, and a computed verdict.

A claim holds when its whole interval lies above the limit, and does not when the whole interval lies below it; anything
else, and a figure that is absent, cannot be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    """A claim: what is measured, where the paper makes it, and the limit that its interval must lie above."""

    key: str
    text: str
    section: str
    measure: str
    limit: float

    def verdict(self, found: Interval) -> str:
        """Return `holds`, `does not` or `cannot be told`."""
        if found.low > self.limit:
            return HOLDS
        return FAILS if found.high < self.limit else OPEN


CLAIMS = (
    Claim("two_networks", "Two independent U-Nets do better than one for both bones", "5.1",
          "Dice × 100, two less one", 0),
    Claim("iliac_easier", "The iliac bone is segmented better than the sacrum", "4.1",
          "Dice × 100, iliac less sacrum", 0),
    Claim("increment", "The increment grows the annotated set at high success", "4.1",
          "patients accepted, %", HIGH_SUCCESS),
    Claim("half_slices", "The model is close to the readers on half-slices", "4.2, Table 1",
          "MCC × 100, models with consensus less the least agreeing readers", -MARGIN),
    Claim("patients", "The ensemble is on par with the readers on patients", "5.2, Table 2",
          "MCC × 100, ensemble with consensus less the least agreeing readers", -MARGIN),
    Claim("ensemble", "The ensemble does better than its single models", "4.2, Table 2",
          "MCC × 100, ensemble less mean of members", 0),
    Claim("ensemble_other", "The ensemble does better than its single models in the second cohort", "Table 3",
          "MCC × 100, ensemble less mean of members", 0),
    Claim("transfer", "It transfers to the second cohort without retraining: on par with readers there", "5.2, Table 3",
          "MCC × 100, ensemble with consensus less the least agreeing readers", -MARGIN),
    Claim("transfer_loss", "The transfer costs performance", "5.2, Tables 2 and 3",
          "MCC × 100, own cohort less the second", 0),
    Claim("preprocessing", "Preprocessing matters more in the second cohort than in the own one", "5.2, Table 4",
          "MCC × 100, mean loss without a step, second cohort less own", 0),
    Claim("annotations", "Annotation augmentation matters most (own cohort)", "5.2, Table 4",
          "MCC × 100, loss without it less the largest other loss", 0),
    Claim("annotations_other", "Annotation augmentation matters most (second cohort)", "5.2, Table 4",
          "MCC × 100, loss without it less the largest other loss", 0),
)  # fmt: skip


def findings(
    phantom: Mapping[str, Interval] | None = None, public: Mapping[str, Interval] | None = None
) -> pd.DataFrame:
    """Return one row per claim: published figure, ours on the phantom and on public real data, rules and verdicts.

    Args:
        phantom: claim's key → interval, from `findings.evidence`, on the phantom.
        public: likewise on public real MRI.

    Raises:
        DataError: a key that is no claim's.
    """
    sources = {"phantom": phantom or {}, "public": public or {}}
    unknown = sorted(set().union(*sources.values()) - {claim.key for claim in CLAIMS})
    if unknown:
        known = ", ".join(sorted(claim.key for claim in CLAIMS))
        raise DataError(f"{unknown[0]!r} is no claim: use one of {known}")
    printed = published_evidence()
    rows = []
    for claim in CLAIMS:
        row: dict[str, object] = {
            "key": claim.key,
            "claim": claim.text,
            "section": claim.section,
            "measure": claim.measure,
            "published": printed.get(claim.key, np.nan),
            "rule": f"holds if the 95 % interval lies above {claim.limit:g}, does not if it lies below",
        }
        for source, given in sources.items():
            found = given.get(claim.key, Interval(np.nan, np.nan, np.nan, 0, 0))
            row |= {
                source: found.value,
                f"{source}_low": found.low,
                f"{source}_high": found.high,
                f"{source}_n": found.patients,
                f"{source}_verdict": claim.verdict(found),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def published_evidence() -> dict[str, float]:
    """Return the paper's own figure of each claim's measure, from its tables and section 4.1."""
    half, patients, other, ablation = (_figures(table) for table in (1, 2, 3, 4))
    losses = {
        cohort: {row: ablation["All included", cohort] - value for (row, column), value in ablation.items()
                 if column == cohort and row != "All included"}
        for cohort in ("ASAS", "DESIR")
    }  # fmt: skip
    steps = ("No Constant Pixel", "No Remove Gaussian Bias", "No Local Median", "No CLAHE")
    mean_loss = {cohort: float(np.mean([losses[cohort][step] for step in steps])) for cohort in losses}
    lead = {
        cohort: values["Only manually"] - max(loss for row, loss in values.items() if row != "Only manually")
        for cohort, values in losses.items()
    }
    return {
        "iliac_easier": 100 * (published_dice()["iliac"] - published_dice()["sacrum"]),
        "increment": 100 * published_number("patients_accepted") / published_number("patients_remaining"),
        "half_slices": half[CONSENSUS, MODEL] - _least(half),
        "patients": patients["mcc", ENSEMBLE] - _least(patients),
        "ensemble": patients["mcc", ENSEMBLE] - patients["mcc", MODEL],
        "ensemble_other": other[CONSENSUS, ENSEMBLE] - other[CONSENSUS, MODEL],
        "transfer": other[CONSENSUS, ENSEMBLE] - _least(other),
        "transfer_loss": patients["mcc", ENSEMBLE] - other[CONSENSUS, ENSEMBLE],
        "preprocessing": mean_loss["ASAS"] - mean_loss["DESIR"],
        "annotations": lead["DESIR"],
        "annotations_other": lead["ASAS"],
    }


def format_findings(table: pd.DataFrame) -> pd.DataFrame:
    """Return findings as text fit for a page: claim, published, phantom, public real data, verdicts, rule."""
    signs = ["" if "%" in measure else "+" for measure in table["measure"]]  # a share has no sign, a difference has
    columns: dict[str, Any] = {name: table[name] for name in ("claim", "section", "measure")}
    columns["published"] = [f"{value:{sign}.1f}" if np.isfinite(value) else "no figure"
                            for value, sign in zip(table["published"], signs, strict=True)]  # fmt: skip
    for source, title in (("phantom", "phantom"), ("public", "public real MRI")):
        figures = table[[source, f"{source}_low", f"{source}_high"]].itertuples(index=False)
        columns[title] = [
            f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]" if np.isfinite(value) else "not measured"
            for (value, low, high), sign in zip(figures, signs, strict=True)
        ]
        columns[f"{title}: verdict"] = table[f"{source}_verdict"]
    return pd.DataFrame(columns | {"rule": table["rule"]})


def _figures(table: int) -> dict[tuple[str, str], float]:
    paper = published(table)
    return dict(zip(zip(paper["row"], paper["column"], strict=True), paper["value"].astype(float), strict=True))


def _least(figures: Mapping[tuple[str, str], float]) -> float:
    """Return the agreement of the two readers who agree least."""
    return min(
        value for (row, column), value in figures.items() if row != CONSENSUS and column not in (MODEL, ENSEMBLE)
    )
