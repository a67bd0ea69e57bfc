"""Tables 1 to 4 of the paper from plain tables of readings and predictions."""

from axspa_lib.diagnosis.readings import wrong_counts
from axspa_lib.study.published import published, published_dice, published_number
from axspa_lib.tables.cells import CELL_COLUMNS, layout, marked, style
from axspa_lib.tables.table1 import table1, table1_cells
from axspa_lib.tables.table2 import table2, table2_cells
from axspa_lib.tables.table3 import table3, table3_cells
from axspa_lib.tables.table4 import differences, table4, table4_cells

__all__ = [
    "CELL_COLUMNS",
    "differences",
    "layout",
    "marked",
    "published",
    "published_dice",
    "published_number",
    "style",
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
