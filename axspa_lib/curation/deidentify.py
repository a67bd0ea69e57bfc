"""De-identification by allow-list: what is read from a header, and in which form it may be written.

Nothing outside the lists below is read from a DICOM file. Identifiers needed for grouping (patient, study, series,
frame of reference) become digests as they are read and are never written. Text fields are mapped to known
vocabularies; other text is dropped. Identity burned into the pixels cannot be judged here.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

#: Geometry and pixel format.
GEOMETRY = (
    "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "SpacingBetweenSlices", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration", "RescaleSlope", "RescaleIntercept",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "SOPClassUID", "ImageType", "Modality",
)  # fmt: skip

#: Acquisition fields, used to recognise the sequence and written to the sidecar.
ACQUISITION = (
    "Manufacturer", "ManufacturerModelName", "MagneticFieldStrength", "ScanningSequence", "SequenceVariant",
    "ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle",
    "EchoTrainLength", "NumberOfAverages", "PixelBandwidth", "PercentSampling", "PercentPhaseFieldOfView",
    "AcquisitionMatrix", "InPlanePhaseEncodingDirection",
)  # fmt: skip

#: Read to group files and break ties; digested or dropped in memory, never written.
GROUPING = (
    "PatientID", "PatientBirthDate", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID",
    "SeriesNumber", "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier", "SeriesDescription",
    "ProtocolName", "ContrastBolusAgent",
)  # fmt: skip

#: Where multi-frame files keep the same: per frame, shared by all, and at the top.
FRAMES = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
_ENHANCED = ("EchoPulseSequence", "EchoPlanarPulseSequence", "ContrastBolusAgentSequence")

#: Inversion time in Philips' own block, ms, and the tag that names the owner of the block.
_PREPULSE, _OWNER = 0x2001101B, 0x20010010

HEADER_TAGS = [*GEOMETRY, *ACQUISITION, *GROUPING, *FRAMES, *_ENHANCED, _OWNER, _PREPULSE]

#: Names in the functional groups of a frame, and the classic keyword of the same value.
_CLASSIC = {
    "EffectiveEchoTime": "EchoTime", "InversionTimes": "InversionTime", "FrameType": "ImageType",
    "FrameAcquisitionNumber": "AcquisitionNumber", "TemporalPositionIndex": "TemporalPositionIdentifier",
}  # fmt: skip

#: BIDS name, keyword, factor to the BIDS unit (times: ms to s).
_NUMBERS = (
    ("RepetitionTime", "RepetitionTime", 1e-3),
    ("EchoTime", "EchoTime", 1e-3),
    ("InversionTime", "InversionTime", 1e-3),
    ("FlipAngle", "FlipAngle", 1.0),
    ("MagneticFieldStrength", "MagneticFieldStrength", 1.0),
    ("SliceThickness", "SliceThickness", 1.0),
    ("SpacingBetweenSlices", "SpacingBetweenSlices", 1.0),
    ("EchoTrainLength", "EchoTrainLength", 1.0),
    ("NumberOfAverages", "NumberOfAverages", 1.0),
    ("PixelBandwidth", "PixelBandwidth", 1.0),
    ("PercentSampling", "PercentSampling", 1.0),
    ("PercentPhaseFOV", "PercentPhaseFieldOfView", 1.0),
)

#: BIDS name, keyword, terms defined by the standard (PS3.3 C.8.3.1) or by convention.
_TERMS = (
    ("ScanningSequence", "ScanningSequence", {"SE", "IR", "GR", "EP", "RM"}),
    ("SequenceVariant", "SequenceVariant", {"SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"}),
    ("ScanOptions", "ScanOptions", {"PER", "RG", "CG", "PPG", "FC", "PFF", "PFP", "SP", "FS", "IR", "FAST_GEMS"}),
    ("MRAcquisitionType", "MRAcquisitionType", {"2D", "3D"}),
    ("InPlanePhaseEncodingDirectionDICOM", "InPlanePhaseEncodingDirection", {"ROW", "COL"}),
)

#: How a manufacturer's name begins, and what is written for it.
_VENDORS = {
    "siemens": "Siemens", "ge": "GE", "general electric": "GE", "philips": "Philips", "toshiba": "Toshiba",
    "canon": "Canon", "hitachi": "Hitachi", "fujifilm": "Fujifilm", "esaote": "Esaote", "united imaging": "UIH",
    "uih": "UIH", "marconi": "Marconi", "picker": "Picker", "phantom": "Phantom", "axspa": "Phantom",
}  # fmt: skip

_MODELS = (
    "Aera", "Allegra", "Altea", "Amira", "Artist", "Avanto", "Biograph", "Concerto", "Espree", "Essenza", "Harmony",
    "Impact", "Lumina", "Magnetom", "Prisma", "Sempra", "Skyra", "Sola", "Sonata", "Spectra", "Symphony", "Trio",
    "Verio", "Vida", "Discovery", "Optima", "Signa", "Genesis", "Explorer", "Voyager", "Architect", "Achieva",
    "Ambition", "Elition", "Gyroscan", "Ingenia", "Intera", "Panorama", "Multiva", "Prodiva", "Titan", "Vantage",
    "Orian", "Galan", "Airis", "Echelon", "Oasis",
)  # fmt: skip


def frames(dataset: Any) -> list[Any]:
    """Return one header per frame: the dataset itself, or classic keywords from its functional groups (PS3.3 C.7.6.16).

    Enhanced MR states its sequence in other words; they are translated to ScanningSequence and ScanOptions.
    """
    if not dataset.get(FRAMES[0]):
        return [dataset]
    top = {keyword: dataset.get(keyword) for keyword in (*GEOMETRY, *ACQUISITION, *GROUPING)}
    shared = _flat(dataset.get(FRAMES[1]) or [])
    headers = []
    for item in dataset.get(FRAMES[0]):
        found = top | shared | _flat([item])
        inverts = found.pop("InversionRecovery", "") == "YES"
        planar = dataset.get("EchoPlanarPulseSequence", "") == "YES"
        kind = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["GR", "SE"]}.get(dataset.get("EchoPulseSequence", ""), [])
        if not found["ScanningSequence"]:
            found["ScanningSequence"] = kind + ["IR"] * inverts + ["EP"] * planar
        if found.pop("SpectrallySelectedSuppression", "") in ("FAT", "FAT_AND_WATER", "WATER"):
            found["ScanOptions"] = ["FS"]
        if dataset.get("ContrastBolusAgentSequence"):
            found["ContrastBolusAgent"] = "yes"
        headers.append(found)
    return headers


def _flat(items: Any) -> dict[str, Any]:
    """Return the values in the sequences of functional groups by classic keyword."""
    wanted = {*GEOMETRY, *ACQUISITION, *GROUPING, "InversionRecovery", "SpectrallySelectedSuppression"}
    found = {}
    for element in (element for item in items for element in item if element.VR == "SQ" and not element.tag.is_private):
        for value in (value for group in element.value[:1] for value in group):
            keyword = _CLASSIC.get(value.keyword, value.keyword)
            if keyword in wanted and value.value not in (None, ""):
                several = keyword == "InversionTime" and not isinstance(value.value, int | float)
                found[keyword] = value.value[0] if several else value.value
    return found


def acquisition(header: Any) -> dict[str, Any]:
    """BIDS sidecar of one header: numbers, terms of the standard and known vendor names; nothing else.

    Returns:
        BIDS names to values; times in seconds, lengths in mm, field in tesla, angles in degrees, bandwidth in Hz/pixel.
    """
    found: dict[str, Any] = {name: number(header, keyword) for name, keyword, _ in _NUMBERS}
    found = {name: round(found[name] * factor, 9) for name, _, factor in _NUMBERS if found[name] is not None}
    found |= {name: terms(header, keyword) for name, keyword, _ in _TERMS}
    if not found.get("InversionTime") and text(header, _OWNER).strip() == "Philips Imaging DD 001":
        found["InversionTime"] = round((number(header, _PREPULSE) or 0) * 1e-3, 9) or None
    names = {"Manufacturer": "Manufacturer", "ManufacturersModelName": "ManufacturerModelName"}
    return clean_sidecar(found | {name: text(header, keyword) for name, keyword in names.items()})


def clean_sidecar(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a BIDS sidecar's allow-listed part: finite numbers and known terms named as in `acquisition`."""
    clean: dict[str, Any] = {}
    for name, _, _ in _NUMBERS:
        value = fields.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            clean[name] = value
    for name, _, allowed in _TERMS:
        raw = fields.get(name)
        found = [term for term in (raw if isinstance(raw, list) else str(raw or "").split("_")) if term in allowed]
        if found:
            clean[name] = found[0] if len(found) == 1 else found
    clean["Manufacturer"] = vendor(str(fields.get("Manufacturer", "")))
    clean["ManufacturersModelName"] = model(str(fields.get("ManufacturersModelName", "")))
    return {name: value for name, value in clean.items() if value != ""}


def vendor(value: str) -> str:
    """Known vendor whose name begins `value`, or empty.

    >>> vendor("GE MEDICAL SYSTEMS"), vendor("Dr Dupont's own")
    ('GE', '')
    """
    lowered = value.strip().lower()
    return next((name for start, name in _VENDORS.items() if re.match(rf"{start}\b", lowered)), "")


def model(value: str) -> str:
    """Known model family named in `value`, or empty.

    >>> model("MAGNETOM Avanto fit, room 3")
    'Avanto'
    """
    words = set(re.findall(r"[a-z]+", value.lower()))
    known = [name for name in _MODELS if name.lower() in words]
    return next((name for name in known if name != "Magnetom"), known[0] if known else "")


def number(header: Any, keyword: str | int) -> float | None:
    """Return a finite number of a header, or none."""
    try:
        found = header.get(keyword)
        value = float(getattr(found, "value", found))
    except Exception:
        return None
    return value if math.isfinite(value) else None


def numbers(header: Any, keyword: str, count: int) -> list[float] | None:
    """`count` finite numbers of a header, or none."""
    try:
        values = [float(value) for value in header.get(keyword)]
    except Exception:
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def text(header: Any, keyword: str | int) -> str:
    """Return a text field of a header, for comparison only; never to be written."""
    try:
        value = header.get(keyword)
        value = getattr(value, "value", value)
    except Exception:
        return ""
    return "" if value is None else str(value)


def terms(header: Any, keyword: str) -> list[str]:
    """Return the terms of a code string, upper case."""
    try:
        value = header.get(keyword)
    except Exception:
        return []
    values = [] if value is None else [value] if isinstance(value, str) else list(value)
    return [str(item).strip().upper() for item in values]


def token(value: str) -> str:
    """Digest by which two identifiers can be compared without being kept; empty for an empty one."""
    value = value.strip()
    return hashlib.sha256(value.encode()).hexdigest() if value else ""
