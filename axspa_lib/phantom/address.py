"""Where the comparison of the phantom with real scans lies among a profile's results."""

from __future__ import annotations

from pathlib import Path

from axspa_lib.layout import Layout


def likeness_folder(layout: Layout) -> Path:
    """Contrast, readers and the phantom-or-real classifier (profile `public`)."""
    return layout.root / "likeness"
