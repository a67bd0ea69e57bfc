"""Tables 1 to 4 of the paper from plain tables of readings and predictions, and what they say about its claims."""

from axspa_lib.tables.ablation import differences, table4, table4_cells
from axspa_lib.tables.cells import CELL_COLUMNS, layout, marked, published, published_dice, published_number, style
from axspa_lib.tables.findings import CLAIMS, findings, summary
from axspa_lib.tables.half_slices import table1, table1_cells, wrong_counts
from axspa_lib.tables.patients import table2, table2_cells, table3, table3_cells

__all__ = [
    "CELL_COLUMNS",
    "CLAIMS",
    "differences",
    "findings",
    "layout",
    "marked",
    "published",
    "published_dice",
    "published_number",
    "style",
    "summary",
    "table1",
    "table1_cells",
    "table2",
    "table2_cells",
    "table3",
    "table3_cells",
    "table4",
    "table4_cells",
    "wrong_counts",
]
