"""De-identification by allow-list: what is read from a header, in which form it may be written, and pseudonyms.

Nothing outside the lists below is read from a DICOM file. Identifiers needed for grouping (patient, study, series,
frame of reference) become digests as they are read and are never written. Text fields are mapped to known
vocabularies; other text is dropped. Identity burned into the pixels cannot be judged here.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from axspa_lib.study.errors import DataError
from axspa_lib.study.runs import write_text

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
    "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SeriesDescription",
    "ContrastBolusAgent",
)  # fmt: skip

HEADER_TAGS = [*GEOMETRY, *ACQUISITION, *GROUPING]

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


def acquisition(header: Any) -> dict[str, Any]:
    """BIDS sidecar of one header: numbers, terms of the standard and known vendor names; nothing else.

    Args:
        header: a pydicom dataset.

    Returns:
        BIDS names to values; times in seconds, lengths in mm, field in tesla, angles in degrees, bandwidth in Hz/pixel.
    """
    fields: dict[str, Any] = {}
    for name, keyword, factor in _NUMBERS:
        value = number(header, keyword)
        if value is not None:
            fields[name] = round(value * factor, 9)
    for name, keyword, allowed in _TERMS:
        found = [term for term in terms(header, keyword) if term in allowed]
        if found:
            fields[name] = found[0] if len(found) == 1 else found
    fields["Manufacturer"] = vendor(text(header, "Manufacturer"))
    fields["ManufacturersModelName"] = model(text(header, "ManufacturerModelName"))
    return {name: value for name, value in fields.items() if value != ""}


def clean_sidecar(fields: dict[str, Any]) -> dict[str, Any]:
    """The allow-listed part of a BIDS sidecar found beside a NIfTI file.

    Args:
        fields: as read from JSON.

    Returns:
        Fields of the same names as `acquisition` writes, with finite numbers and known terms only.
    """
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


def number(header: Any, keyword: str) -> float | None:
    """A finite number of a header, or none."""
    try:
        value = float(header.get(keyword))
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


def text(header: Any, keyword: str) -> str:
    """A text field of a header, for comparison only; never to be written."""
    try:
        value = header.get(keyword)
    except Exception:
        return ""
    return "" if value is None else str(value)


def terms(header: Any, keyword: str) -> list[str]:
    """The terms of a code string, upper case."""
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


def shown_name(path: Path, number: int, total: int) -> str:
    """How a message calls a file: by name if that is a short code, else by number, for names often are original UIDs.

    >>> shown_name(Path("IM-0001.dcm"), 1, 15), shown_name(Path("1.2.840.1.77"), 3, 15)
    ('IM-0001.dcm', 'file 3 of 15 by name')
    """
    plain = re.fullmatch(r"[A-Za-z]{0,8}[-_]?\d{1,8}(\.(dcm|ima))?", path.name, re.IGNORECASE)
    return path.name if plain else f"file {number} of {total} by name"


class Pseudonyms:
    """Who is who: patient and study identifiers to pseudonyms, in one local file that git ignores (`pseudonyms*.csv`).

    A pseudonym once given stays, whoever is added later: the first study of a person is `P0001`, the next `P0001-2`.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read an existing map; with no path, the map lives in memory only.

        Raises:
            DataError: the file is there and is not such a map.
        """
        self.path = path
        self._people: dict[str, str] = {}
        self._studies: dict[tuple[str, str], str] = {}
        if path is None or not path.exists():
            return
        try:
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    self._people[row["patient_id"]] = row["subject"]
                    self._studies[row["patient_id"], row["study_uid"]] = row["pseudonym"]
        except (KeyError, UnicodeDecodeError, csv.Error):
            raise DataError(f"{path}: is not a map of pseudonyms; move it away and curate again") from None

    def assign(self, studies: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str]]:
        """Subject and pseudonym of each (patient identifier, study identifier): those of the map, then new ones."""
        given = {}
        for patient, study in studies:
            subject = self._people.setdefault(patient, f"P{len(self._people) + 1:04d}")
            if (patient, study) not in self._studies:
                number = 1 + sum(person == patient for person, _ in self._studies)
                self._studies[patient, study] = subject if number == 1 else f"{subject}-{number}"
            given[patient, study] = (subject, self._studies[patient, study])
        return given

    def by_identifier(self, patients: Iterable[str]) -> dict[str, str]:
        """Pseudonym by patient identifier and by study identifier, of those `patients` for which that is unique."""
        wanted = set(patients)
        found: dict[str, set[str]] = {}
        for (patient, study), name in self._studies.items():
            if name in wanted:
                found.setdefault(patient, set()).add(name)
                found.setdefault(study, set()).add(name)
        return {
            key: next(iter(names)) if len(names) == 1 else f"{self._people.get(key, 'unknown')} (several examinations)"
            for key, names in found.items()
        }

    def save(self) -> None:
        """Write the map, whole or not at all, readable by its owner only."""
        if self.path is None:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["pseudonym", "subject", "patient_id", "study_uid"])
        for (patient, study), name in self._studies.items():
            writer.writerow([name, self._people[patient], patient, study])
        write_text(self.path, text.getvalue())
        self.path.chmod(0o600)
