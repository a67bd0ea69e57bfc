"""Recognise what kind of source a folder is, and open it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Literal

from axspa_lib.curation.source import Source, files_below, folders_in, unpacked
from axspa_lib.study.errors import DataError

Kind = Literal["auto", "dicom", "nifti", "vhi", "phantom"]


KINDS: tuple[Kind, ...] = ("auto", "dicom", "nifti", "vhi", "phantom")


#: Module and callable that open each kind; by name, because these modules build on this one.
_OPENERS = {
    "dicom": ("dicom_sources", "DicomSource"),
    "phantom": ("dicom_sources", "DicomSource"),
    "nifti": ("nifti_source", "NiftiSource"),
    "vhi": ("vhi.source", "VhiSource"),
}

#: Names of images that nibabel or SimpleITK reads.
IMAGES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img")

_TABLES = {".csv", ".json", ".tsv", ".md", ".txt", ".bval", ".bvec", ".mat", ".docx", ".xlsx", ".pdf", ".raw"}


def open_source(path: Path, kind: Kind = "auto") -> Source:
    """Open a cohort.

    Args:
        path: folder of the cohort.
        kind: `dicom` (`{patient}/{T1,STIR}/`, or any export of a PACS), `phantom` (the first with readings and truth),
            `nifti`, `vhi`, or `auto` to recognise it.
    """
    path = Path(path)
    if kind not in KINDS:
        raise DataError(f"unknown kind of source {kind!r}: choose one of {', '.join(KINDS)}")
    if not path.is_dir():
        raise DataError("no such folder; give the folder that holds the patients")
    folders_in(path)
    path, notes = unpacked(path)
    kind = _recognise(path) if kind == "auto" else kind
    module, opener = _OPENERS[kind]
    source: Source = getattr(import_module(f"axspa_lib.curation.{module}"), opener)(path)
    if notes:
        getattr(source, "notes", notes).extend(notes)
    return source


def _recognise(path: Path) -> Kind:
    """Kind of the cohort in a folder: DICOM wherever a file is DICOM, other files notwithstanding."""
    from axspa_lib.curation.dicom import NotDicom, read_dataset

    if (path / "images_model_evaluation").is_dir() or (path / "segmentations").is_dir():
        return "vhi"
    images = others = 0
    for child in files_below(path, unreadable=lambda error: None):
        if "truth" in child.relative_to(path).parts[:1] or child.suffix.lower() in _TABLES:
            continue
        if child.name.lower().endswith(IMAGES):
            images += 1
            continue
        try:
            read_dataset(child, pixels=False)
            return "dicom"
        except NotDicom:
            continue
        except DataError:
            others += 1
    if images:
        return "nifti"
    if others or any(folders_in(path)):
        return "dicom"
    raise DataError("the folder holds no images; give a folder of DICOM or NIfTI files")
