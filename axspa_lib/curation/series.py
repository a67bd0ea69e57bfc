"""Which series of an examination are its T1 and its STIR, and why: one rule for exports, folders and NIfTI.

Sequence parameters decide (times in seconds): STIR inverts with a TI that nulls fat at 0.2 to 3 T and repeats slowly;
T1 repeats fast with a short echo and does not invert. Words of a description exclude what parameters do not tell
(contrast agent, fat suppression, Dixon, subtraction, another region) and decide where parameters are absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from axspa_lib.curation.geometry import TILT_RANGE
from axspa_lib.curation.tolerance import MAX_PLANE_ANGLE
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SEQUENCES, STIR, T1

#: A stack of fewer slices is a localizer or a fragment (the paper's scans have 12 to 18).
MIN_SLICES = 4

#: Inversion times that null fat, s (PHANTOM.md: 130 to 170 ms at 1.5 T, 200 to 220 ms at 3 T; low field is shorter).
STIR_TI = (0.075, 0.270)

#: Shortest repetition of a STIR, and the echo above which it is another sequence, s.
STIR_TR, STIR_TE = 1.2, 0.150

#: Longest repetition and echo of a T1 spin echo, s.
T1_TR, T1_TE = 1.2, 0.040

#: A plane less tilted than this, in degrees, is straight coronal, as for hips; the sacro-iliac one is semi-coronal.
STRAIGHT = 15.0


def _words(alternatives: str) -> re.Pattern[str]:
    """Match any of the alternatives as whole words; underscores and digits divide words."""
    return re.compile(rf"(?<![a-z])(?:{alternatives})(?![a-z])")


_STIR_WORDS = re.compile(r"stir|tirm|short.?ti(?![a-z])|(?<![a-z])ir.?fs")
_T1_WORDS = re.compile(r"(?<![a-z0-9])e?t1(?![0-9])")
_NATIVE = _words(
    r"(?:without|w.?o|no|non|ohne|sans|senza|sin|pre|vor|avant|before|prima)[\W_]*"
    r"(?:km|mdc|gd|gado?\w*|iv|ce|[ck]ontrast\w*|inj\w*|pdc|agent)"
)
_SACROILIAC = _words(r"sij?s?|isg|iliosa[ck]r\w*|sa[ck]ro\w*|sacrum|is.?joints?")

#: What excludes a series, by the reason; words of a description and terms of ImageType alike.
_EXCLUDING = {
    "localizer": _words(r"locali[sz]er|scout|survey|topogram|loc"),
    "mask": _words(r"masks?|d?seg\w*|labels?|roi|bones?|lesions?"),
    "subtraction": _words(r"sub|subtr\w*|soustr\w*|sottr\w*|sustr\w*"),
    "projection or map": _words(r"m(?:in)?ip|projection\w*|t?[12]?.?map(?:it)?"),
    "diffusion": _words(r"dwi?|dti|e?adc|diff\w*|trace\w?|ep2d|resolve"),
    "gradient echo": _words(
        r"gre|ge2d|vibe|flash|fl[23]d|dess|medic|t2\W?star|lava|thrive|f?gre|spgr|[ft]fe|trufi\w*|fiesta|swi|merge|mprage"
    ),
    "Dixon fat, water or opposed phase": _words(
        r"opp|opposed\w*|out.?(?:of.?)?phase|water|wasser|eau|(?:fat|fett)(?!.?s)|graisse|dixon.*[_ ](?:w|f|op)"
    ),
    "contrast agent": _words(
        r"w?km|mdc|gd|gado?\w*|post|ce|inj\w*|[ck]ontrast\w*|dotarem|prohance|magnevist|multihance|clariscan|apr[eè]s"
        r"|nach|dopo|despu[eé]s|enhanced|pdc|iv|dyn\w*|.*\+ ?[ckg]|[ck] ?\+"
    ),
    "fat suppression": _words(r"fs|(?:fat|fett).?s\w*|spir|spair|chess|proset"),
    "another region": _words(
        r"hips?|h(?:u|ü|ue)ft\w*|hanches?|anca|cadera\w*|lumb\w*|lend\w*|[lhb]ws|l?.?spine|rachi\w*|knees?|knie|genou\w*"
        r"|shoulder|schulter|thora\w*|cervi\w*|pied"
    ),
}

#: What a report may repeat of a description: these words, and nothing else.
_KNOWN = _words(
    r"e?t[12]w?|pdw?|stir|tirm|[tf]?se|cor|coronal|obl|semi|tra|ax|axial|sag|mpr|dixon|in.phase|fs|hips?|lws|[23]d|longte"
)


@dataclass(frozen=True)
class Candidate:
    """One stack that may be the T1 or the STIR.

    Attributes:
        key: by which its source reads it.
        fields: acquisition fields, BIDS names and units (`deidentify.acquisition`).
        words: description or file name in lower case; only known words of it are ever repeated.
        normal: slice normal (LPS), or none where the plane is not known yet.
        shape: slices, rows and columns.
        number: series number, and whatever else tells its stack from others of the series.
        hint: the sequence that its folder is named after, or empty.
    """

    key: Any
    fields: Mapping[str, Any]
    words: str = ""
    image_type: tuple[str, ...] = ()
    contrast_agent: bool = False
    normal: tuple[float, ...] | None = None
    shape: tuple[int, ...] = (MIN_SLICES, 1, 1)
    number: str = ""
    frame: str = ""
    hint: str = ""

    @property
    def shown(self) -> str:
        """Number, known words of the description, matrix and slices."""
        slices, rows, columns = self.shape
        known = " ".join(dict.fromkeys(_KNOWN.findall(self.words)))
        return f"series {self.number or '?'} ({known + ', ' if known else ''}{rows}x{columns}, {slices} slices)"


def judge(one: Candidate) -> tuple[str | None, str]:
    """Name the sequence of a stack: `T1`, `STIR` or none, and the reason for the report.

    >>> judge(Candidate(0, {"RepetitionTime": 5.0, "EchoTime": 0.084, "InversionTime": 0.14}))[0]
    'STIR'
    """
    if one.normal is not None and (plane := _plane(one.normal)):
        return None, plane
    if one.shape[0] < MIN_SLICES:
        return None, f"only {one.shape[0]} slices (a localizer or a fragment)"
    stir = bool(_STIR_WORDS.search(one.words))
    words = _NATIVE.sub(" ", one.words)
    kind = " ".join(one.image_type[2:]).lower()
    for reason, pattern in _EXCLUDING.items():
        if reason == "another region" and _SACROILIAC.search(words):
            continue
        if reason == "fat suppression" and stir:
            continue
        if pattern.search(words) or (pattern.search(kind) and reason not in ("contrast agent", "another region")):
            return None, reason
    if {"W", "F", "OP"} & set(one.image_type[2:]):
        return None, "Dixon fat, water or opposed phase"
    if one.contrast_agent:
        return None, "contrast agent"
    return _by_parameters(one.fields, words, one.hint)


def _by_parameters(fields: Mapping[str, Any], words: str, hint: str) -> tuple[str | None, str]:
    """Judge repetition, echo and inversion; words and the name of the folder only where these are absent."""
    kinds, options = (_as_set(fields.get(name)) for name in ("ScanningSequence", "ScanOptions"))
    tr, te, ti = (fields.get(name) for name in ("RepetitionTime", "EchoTime", "InversionTime"))
    if kinds & {"GR", "EP"}:
        return None, "gradient echo or echo planar"
    inverts = "IR" in kinds or bool(ti)
    if ti:
        if STIR_TI[0] <= ti <= STIR_TI[1] and (tr is None or tr >= STIR_TR) and (te is None or te <= STIR_TE):
            return STIR, f"inversion time {ti * 1e3:.0f} ms nulls fat"
        return None, f"inversion time {ti * 1e3:.0f} ms does not null fat, or timing is not STIR's"
    if inverts or (tr is not None and tr >= STIR_TR):
        if (inverts or (te or 0) > 0.02) and _STIR_WORDS.search(words):
            return STIR, "long repetition without a stated inversion time; the description decides"
        return None, f"{'inversion' if inverts else 'long repetition'} without an inversion time that nulls fat"
    if tr is None or te is None:
        said = {name for name, pattern in ((T1, _T1_WORDS), (STIR, _STIR_WORDS)) if pattern.search(words)} or {hint}
        return (
            (said.pop(), "timing absent; the name decides")
            if len(said) == 1 and said != {""}
            else (None, "timing absent")
        )
    if te > T1_TE:
        return None, f"echo time {te * 1e3:.0f} ms is too long for T1"
    if "FS" in options:
        return None, "fat suppression"
    return T1, f"repetition {tr * 1e3:.0f} ms, echo {te * 1e3:.0f} ms, no inversion"


@dataclass
class Choice:
    """T1 and STIR of an examination, with the report of what was taken and left out.

    Attributes:
        taken: candidate by sequence.
        report: `series, taken, reason` of every candidate.
    """

    taken: dict[str, Candidate] = field(default_factory=dict)
    report: list[dict[str, str]] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """Series taken, the reason, and the number left out; the report names these."""
        taken = [f"{row['taken']}: {row['series']}, {row['reason']}" for row in self.report if row["taken"]]
        others = len(self.report) - len(taken)
        return taken + ([f"{others} other series left out, named in series.csv"] if others else [])


def choose(candidates: Iterable[Candidate], digest: Callable[[Candidate], str] | None = None) -> Choice:
    """Choose the T1 and the STIR: a pair of one plane, originals first, semi-coronal first; matrix size decides last.

    Args:
        candidates: all stacks of an examination.
        digest: checksum of the pixels of a candidate, asked when nothing else decides.
    """
    judged = sorted(((one, *judge(one)) for one in candidates), key=lambda row: (row[0].shown, row[0].frame, row[2]))
    able: dict[str, list[Candidate]] = {name: [] for name in SEQUENCES}
    for one, found, reason in judged:
        if found and one.hint not in ("", found):
            raise DataError(f"{one.hint}: the folder holds a {found} ({reason}); put each series in its own folder")
        if found:
            able[found].append(one)
    for name in SEQUENCES:
        if not able[name]:
            raise DataError(_none(name, judged))
    ranked = sorted(product(able[T1], able[STIR]), key=_misfit)
    for index, name in enumerate(SEQUENCES):
        tied = {id(pair[index]): pair[index] for pair in ranked if _misfit(pair) == _misfit(ranked[0])}
        if len(tied) > 1 and not (digest and len({digest(one) for one in tied.values()}) == 1):
            listed = " or ".join(one.shown for one in tied.values())
            raise DataError(
                f"{len(tied)} series can be the {name}: {listed}; sort by hand into {{patient}}/{{T1,STIR}}/"
            )
    taken = dict(zip(SEQUENCES, ranked[0], strict=True))
    report = []
    for one, found, reason in judged:
        name = next((name for name, other in taken.items() if other is one), "")
        why = reason if name or not found else f"can be the {found}, another fits better"
        report.append({"series": one.shown, "taken": name, "reason": why})
    return Choice(taken, sorted(report, key=lambda row: (row["taken"] != T1, row["taken"] != STIR)))


def _none(name: str, judged: list[tuple[Candidate, str | None, str]]) -> str:
    """Say why nothing can be a sequence; of a folder named after it, why its stack is not."""
    hinted = [(one, reason) for one, _, reason in judged if one.hint == name]
    if len(hinted) == 1:
        return f"{name}: the series of this folder is none: {hinted[0][1]}; choose another series"
    listed = ", ".join(f"{one.shown}: {reason}" for one, found, reason in judged if not found) or "no other is there"
    return (
        f"none of the {len(judged)} series is a (semi)coronal {name} ({listed}); "
        "export it, or sort the series by hand into {patient}/{T1,STIR}/"
    )


def _misfit(pair: tuple[Candidate, Candidate]) -> tuple[int, ...]:
    """Rank a pair: frame, plane, originality, region, obliquity, number of slices, and matrix last."""
    t1, stir = pair
    derived = sum("DERIVED" in one.image_type[:1] or bool(_words(r"mpr|reform\w*").search(one.words)) for one in pair)
    unnamed = sum(not _SACROILIAC.search(one.words) for one in pair)
    apart = straight = 0
    if t1.normal is not None and stir.normal is not None:
        apart = int(angle(t1.normal, stir.normal) > MAX_PLANE_ANGLE)
        straight = int(abs(_tilt(t1.normal)) < STRAIGHT)
    dixon = sum("DIXON" in one.image_type for one in pair)
    size = t1.shape[1] * t1.shape[2] + stir.shape[1] * stir.shape[2]
    return (
        int(t1.frame != stir.frame),
        apart,
        derived,
        dixon,
        unnamed,
        straight,
        abs(t1.shape[0] - stir.shape[0]),
        -size,
    )


def angle(first: Iterable[float], second: Iterable[float]) -> float:
    """Return the angle of two planes by their unit normals, degrees."""
    return float(np.degrees(np.arccos(np.clip(abs(np.dot(list(first), list(second))), 0.0, 1.0))))


def _tilt(normal: Iterable[float]) -> float:
    """Tilt from coronal of a slice normal in LPS, degrees."""
    across = np.asarray(list(normal), dtype=float)
    across *= 1 if across[1] >= 0 else -1
    return float(np.degrees(np.arctan2(across[2], across[1])))


def _plane(normal: tuple[float, ...]) -> str:
    """Why a plane is not (semi)coronal, or empty."""
    if abs(normal[0]) >= 0.5:
        return "its slices are sagittal"
    tilt = _tilt(normal)
    return (
        ""
        if TILT_RANGE[0] <= tilt <= TILT_RANGE[1]
        else f"its slices are axial or oblique axial (tilted {tilt:.0f} degrees)"
    )


def _as_set(value: Any) -> set[str]:
    return {value} if isinstance(value, str) else set(value or ())
