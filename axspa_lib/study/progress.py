"""Report how far a long job is, as a bar and as a small file."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

from tqdm import tqdm


class Progress(tqdm):
    """A tqdm bar that also writes `{"share", "left"}` to the file named by `$AXSPA_PROGRESS`, once a second."""

    def __init__(self, *arguments: Any, disable: bool = False, **options: Any) -> None:
        """Take what tqdm takes; a disabled bar still reports."""
        self.report = os.environ.get("AXSPA_PROGRESS", "")
        if disable and self.report:
            options["file"] = io.StringIO()  # drawn where nobody looks
        super().__init__(*arguments, disable=disable and not self.report, **{"mininterval": 1.0} | options)

    def display(self, *arguments: Any, **options: Any) -> Any:
        """Draw the bar and write the report."""
        state = self.format_dict
        if self.report and state["total"]:
            done = state["n"] - state["initial"]
            left = (state["total"] - state["n"]) * state["elapsed"] / done if done > 0 else None
            text = json.dumps({"share": state["n"] / state["total"], "left": left})
            part = Path(f"{self.report}.part")
            part.write_text(text, encoding="utf-8")
            part.replace(self.report)
        return super().display(*arguments, **options)


def read_progress(path: Path) -> tuple[float, float | None]:
    """Return share done (0 to 1) and seconds left of a job; 0 and None before its first report."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0.0, None
    return float(report["share"]), report["left"]
