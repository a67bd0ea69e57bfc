"""A folder of NIfTI, NRRD or Analyze images: whose they are and what they show, by their names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from axspa_lib.curation.deidentify import token
from axspa_lib.curation.identity import Known
from axspa_lib.curation.nifti import SUFFIX, read_image_with_notes, read_sidecar
from axspa_lib.curation.series import Candidate, choose, judge
from axspa_lib.curation.source import PERMISSIONS, Examination, FolderSource, files_below
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SEQUENCES, STIR, T1
from axspa_lib.study.volume import Volume

#: Where the description of a sequence begins in a file name; what stands before it is the patient.
_SEQUENCE = re.compile(
    r"(?:^|[_\-. ])(?=(?:e?t[12][a-z0-9]*|pdw?|[a-z0-9]*stir[a-z0-9]*|tirm[a-z0-9]*"
    r"|(?:acq|run|rec|desc|echo|part)-[a-z0-9]+|cor|tra|sag|ax|semi|obl|scout|survey|locali[sz]er|dixon)(?=[_\-. ]|$))",
    re.IGNORECASE,
)
_CHANNEL = re.compile(r"_(\d{4})$")


class NiftiSource(FolderSource):
    """Images `{patient}_{T1,STIR}.nii.gz`, `{patient}/{T1,STIR}.nii.gz`, a BIDS tree, or names by dcm2niix."""

    name = "NIfTI"

    def examinations(self, progress: bool) -> list[Known]:
        """Group images by folder and by what stands in their name before the sequence."""
        groups: dict[tuple[str, str], list[Candidate]] = {}
        locked: list[OSError] = []
        for file in files_below(self.path, locked.append):
            parts = file.relative_to(self.path).parts
            twin = file.suffix.lower() == ".hdr" and file.with_suffix(".img").is_file()
            if not SUFFIX.search(file.name) or twin or parts[0] in ("truth", "derivatives"):
                continue
            folder, patient, candidate = _described(file, self.path)
            groups.setdefault((folder, patient), []).append(candidate)
        named = {key: files for key, files in sorted(groups.items()) if any(judge(one)[0] for one in files)}
        number = sum(map(len, groups.values()))
        if not named and not locked:
            raise DataError(
                f"none of {number} images tells by its name which sequence it is; call them {{patient}}_T1 and "
                "{patient}_STIR (of nnU-Net, add dataset.json with its channel_names)"
            )
        if unused := number - sum(map(len, named.values())):
            self.notes.append(f"{unused} images whose names tell no T1 or STIR were not used")
        self._files = list(named.values())
        known = []
        patients = [patient for _, patient in named]
        for folder, patient in named:
            name = patient if patients.count(patient) == 1 else f"{folder}/{patient}"
            bids = re.fullmatch(r"(sub-[A-Za-z0-9]+)_(ses-[A-Za-z0-9]+)", name)
            known.append(Known(bids[1] if bids else name, bids[2] if bids else "", (name,)))
        for error in locked:
            self._files.append([])
            name = Path(error.filename).relative_to(self.path).as_posix()
            known.append(Known(name, "", (name,)))
        return known

    def files(self, patient: str) -> Iterable[Path]:
        """Return the images of an examination."""
        return [one.key for one in self._files[self.index(patient)[0]]]

    def load(self, patient: str) -> Examination:
        """Choose and read T1, STIR and masks of one patient."""
        candidates = self._files[self.index(patient)[0]]
        if not candidates:
            raise DataError(f"its folder cannot be read; {PERMISSIONS}")
        read: dict[Path, tuple[Volume, list[str]]] = {}
        failed: dict[str, str] = {}
        seen = []
        for one in candidates:
            role, _ = judge(one)
            if role is not None:
                try:
                    read[one.key] = volume, _ = read_image_with_notes(one.key)
                except DataError as error:
                    failed.setdefault(role, str(error).removeprefix(f"{one.key.name}: "))
                    continue
                normal = volume.affine[:3, 0] * [-1, -1, 1] / volume.spacing[0]
                one = replace(one, shape=volume.array.shape, normal=tuple(normal))
            seen.append(one)
        for role, reason in failed.items():
            if not any(judge(one)[0] == role for one in seen):
                raise DataError(f"{role}: {reason}")
        choice = choose(seen, lambda one: token(read[one.key][0].array.tobytes().hex()))
        taken = {name: one.key for name, one in choice.taken.items()}
        examination = replace(
            self.describe(patient),
            t1=read[taken[T1]][0],
            stir=read[taken[STIR]][0],
            sidecar={name: read_sidecar(taken[name]) for name in SEQUENCES},
            notes=[f"{name}: {note}" for name in SEQUENCES for note in read[taken[name]][1]]
            + (choice.notes if len(seen) > 2 else []),
            series=choice.report,
        )
        return self.with_masks(examination)


def _described(file: Path, root: Path) -> tuple[str, str, Candidate]:
    """Folder, patient and candidate of an image, from its name, its folders and its sidecar."""
    stem = SUFFIX.sub("", file.name)
    folder = file.parent
    hint = folder.name.upper() if folder.name.upper() in SEQUENCES and folder != root else ""
    if hint or folder.name == "anat":
        folder = folder.parent
    channel = _CHANNEL.search(stem)
    start = _SEQUENCE.search(stem)
    end = start.start() if start else channel.start() if channel else 0 if hint else len(stem)
    words = stem[end:].lower().strip("_-. ")
    if channel and not _T1_OR_STIR.search(words):
        words = _channels(file, root).get(int(channel[1]), "")
    patient = "" if hint and not start else stem[:end]
    fields = read_sidecar(file)
    if _T1_OR_STIR.search(words) or hint:  # the name says what it is; parameters may only contradict
        fields = {name: fields[name] for name in ("ScanningSequence", "ScanOptions", "InversionTime") if name in fields}
    number = next(iter(re.findall(r"_(\d{1,4})$", stem)), "")
    relative = folder.relative_to(root).as_posix()
    return relative, patient or folder.name, Candidate(file, fields, words, number=number, hint=hint)


_T1_OR_STIR = re.compile(r"(?<![a-z0-9])e?t1(?![0-9])|stir|tirm")


def _channels(file: Path, root: Path) -> dict[int, str]:
    """Names of the channels of nnU-Net by number, from `dataset.json` beside or above an image."""
    for folder in file.parents:
        try:
            fields = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
            named = fields.get("channel_names") or fields.get("modality") or {}
            return {int(number): str(name).lower() for number, name in named.items()}
        except (OSError, ValueError, AttributeError):
            if folder == root:
                break
    return {}
