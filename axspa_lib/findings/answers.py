"""Verdicts on the claims as answers to a clinician's questions."""

from __future__ import annotations

import pandas as pd

from axspa_lib.findings.claims import FAILS, HOLDS, OPEN

#: Questions a clinician asks, and the claims that answer them.
QUESTIONS = {
    "Does the computer find the joints, from few outlined patients?": ("increment", "iliac_easier", "two_networks"),
    "Does it mark inflammation as the readers do?": ("half_slices", "patients"),
    "Is a vote of several networks better than one?": ("ensemble", "ensemble_other"),
    "Does it work on patients of other hospitals and scanners?": ("transfer", "transfer_loss", "preprocessing"),
    "Do the joints found by computer help, beyond those outlined by hand?": ("annotations", "annotations_other"),
}


def answers(table: pd.DataFrame) -> pd.DataFrame:
    """Return each question with what the paper says, and how many claims hold on phantom and on real MRI.

    Args:
        table: from `findings.claims.findings`.

    Returns:
        `question, published, phantom, public real MRI` as text.
    """
    rows = []
    for question, keys in QUESTIONS.items():
        part = table[table["key"].isin(keys)]
        known = f"yes, with figures for {part['published'].notna().sum()} of {len(part)} claims"
        rows.append((question, known, _format(part, "phantom"), _format(part, "public")))
    return pd.DataFrame(rows, columns=["question", "published", "phantom", "public real MRI"])


def verdict_counts(table: pd.DataFrame, source: str) -> dict[str, int]:
    """Count the claims that hold, do not, and cannot be told, on `phantom` or `public`."""
    found = table[f"{source}_verdict"]
    return {verdict: int((found == verdict).sum()) for verdict in (HOLDS, FAILS, OPEN)}


def _format(part: pd.DataFrame, source: str) -> str:
    texts = part["claim"].str[0].str.lower() + part["claim"].str[1:]
    groups = {verdict: list(texts[part[f"{source}_verdict"] == verdict]) for verdict in (HOLDS, FAILS, OPEN)}
    if len(groups[OPEN]) == len(part):
        return OPEN
    openings = {HOLDS: "yes", FAILS: "no", OPEN: OPEN}
    return "; ".join(f"{openings[verdict]}: {', '.join(claims)}" for verdict, claims in groups.items() if claims)
