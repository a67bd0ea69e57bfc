"""Which series of an examination is the T1 and which the STIR: from sequence parameters, not from descriptions.

Rules (times in seconds): STIR inverts with a TI that nulls fat at 0.2 to 3 T and repeats slowly; T1 repeats fast with a
short echo and does not invert. The description only decides where a field that the rules need is absent, or between
series that are otherwise equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from axspa_lib.study.labels import STIR, T1

#: Inversion times that null fat, s (PHANTOM.md: 130 to 170 ms at 1.5 T, 200 to 220 ms at 3 T; low field is shorter).
STIR_TI = (0.075, 0.270)

#: Shortest repetition of a STIR, s.
STIR_TR = 1.2

#: Longest repetition and echo of a T1 spin echo, s.
T1_TR, T1_TE = 1.2, 0.040

#: Effective echo time of STIR, s, above which it is another sequence.
STIR_TE = 0.150

_STIR_WORDS = re.compile(r"stir|tirm|short.?ti|\bir.?fs")
_T1_WORDS = re.compile(r"(?<![a-z0-9])t1")
_OTHER_WORDS = re.compile(r"gado|\bgd\b|[+_ ]c\b|inj|post|fat.?sat|\bfs\b|spir|spair|dixon|water")


def recognise(fields: Mapping[str, Any], description: str = "", contrast_agent: bool = False) -> tuple[str | None, str]:
    """Name the sequence of one series.

    Args:
        fields: acquisition fields, BIDS names and units (`deidentify.acquisition`).
        description: series description in lower case; a tie-breaker, never quoted in the reason.
        contrast_agent: whether the header names a contrast agent.

    Returns:
        `T1`, `STIR` or none, and the reason for the report.

    >>> recognise({"ScanningSequence": "IR", "RepetitionTime": 5.0, "EchoTime": 0.084, "InversionTime": 0.14})[0]
    'STIR'
    """
    sequence = fields.get("ScanningSequence", [])
    kinds = {sequence} if isinstance(sequence, str) else set(sequence)
    tr, te, ti = (fields.get(name) for name in ("RepetitionTime", "EchoTime", "InversionTime"))
    if kinds & {"GR", "EP"}:
        return None, "gradient echo or echo planar"
    inverts = "IR" in kinds or bool(ti)
    if ti and inverts:
        if STIR_TI[0] <= ti <= STIR_TI[1] and (tr is None or tr >= STIR_TR) and (te is None or te <= STIR_TE):
            return STIR, f"inversion time {ti * 1e3:.0f} ms nulls fat"
        return None, f"inversion time {ti * 1e3:.0f} ms does not null fat, or timing is not STIR's"
    if inverts or (tr is not None and tr >= STIR_TR):
        if (inverts or (te or 0) > 0.02) and _STIR_WORDS.search(description):
            return STIR, "long repetition without a stated inversion time; the description decides"
        return None, "long repetition and no inversion time"
    if tr is None or te is None:
        words = (bool(_T1_WORDS.search(description)), bool(_STIR_WORDS.search(description)))
        if words == (True, False) and not _OTHER_WORDS.search(description):
            return T1, "timing absent; the description decides"
        if words == (False, True):
            return STIR, "timing absent; the description decides"
        return None, "timing absent"
    if te > T1_TE:
        return None, f"echo time {te * 1e3:.0f} ms is too long for T1"
    options = fields.get("ScanOptions", [])
    if contrast_agent or "FS" in ([options] if isinstance(options, str) else options):
        return None, "T1 with a contrast agent or fat saturation"
    return T1, f"repetition {tr * 1e3:.0f} ms, echo {te * 1e3:.0f} ms, no inversion"


def less_plain(description: str) -> bool:
    """Whether a description names contrast agent or fat suppression; breaks ties between T1 series."""
    return bool(_OTHER_WORDS.search(description))
