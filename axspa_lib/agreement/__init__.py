"""Agreement of readings: measures from counts, curves from scores, and intervals and tests by patient."""

from axspa_lib.agreement.measures import (
    COUNTS,
    Floats,
    accuracy,
    cohen_kappa,
    confusion,
    fleiss_kappa,
    fleiss_terms,
    mcc,
    mcc_counts,
    mcc_score,
    precision,
    sensitivity,
    specificity,
)
from axspa_lib.agreement.resampling import (
    Difference,
    Interval,
    bootstrap_by_patient,
    by_patient,
    holm,
    paired_difference,
    weights,
)

__all__ = [
    "COUNTS",
    "Difference",
    "Floats",
    "Interval",
    "accuracy",
    "bootstrap_by_patient",
    "by_patient",
    "cohen_kappa",
    "confusion",
    "fleiss_kappa",
    "fleiss_terms",
    "holm",
    "mcc",
    "mcc_counts",
    "mcc_score",
    "paired_difference",
    "precision",
    "sensitivity",
    "specificity",
    "weights",
]
