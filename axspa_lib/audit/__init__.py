"""What the published figures imply: every figure against its number of cases, and the figures of a table together."""

from axspa_lib.audit.enumeration import closest, distinct, matrices, nearest_n, printed
from axspa_lib.audit.implications import described, table3_structure
from axspa_lib.audit.report import audit, write_audit
from axspa_lib.audit.rows import COLUMNS

__all__ = [
    "COLUMNS",
    "audit",
    "closest",
    "described",
    "distinct",
    "matrices",
    "nearest_n",
    "printed",
    "table3_structure",
    "write_audit",
]
