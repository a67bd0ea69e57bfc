"""Agreement of readings: measures from counts, curves from scores, and intervals and tests by patient."""

from axspa_lib.stats.counts import cohen_kappa, confusion, mcc_counts
from axspa_lib.stats.curves import roc
from axspa_lib.stats.resampling import Interval, bootstrap_by_patient

__all__ = ["Interval", "bootstrap_by_patient", "cohen_kappa", "confusion", "mcc_counts", "roc"]
