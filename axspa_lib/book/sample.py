"""Images that come with the repository: a few phantom examinations of a finished run, with every intermediate.

`book/sample/<profile>/` mirrors `runs/<profile>/`. Where stored results lack an image, it is read from there
(`study.runs.found`), so chapters open without a run. Store the run first, then sample it:

    axspa store --profile quick && axspa sample --profile quick --patients 4
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from axspa_lib.study.cohort import file_label
from axspa_lib.study.config import load_study
from axspa_lib.study.errors import AxspaError
from axspa_lib.study.labels import SEQUENCES, TEST, TRAIN
from axspa_lib.study.results import Run
from axspa_lib.study.runs import read_run, runs_root, sample_root

#: Bytes that all samples together may have.
LARGEST = 15_000_000


def make_sample(profile: str, patients: int = 4) -> tuple[Path, list[str]]:
    """Copy the images of a few patients of a finished run to `book/sample/<profile>/`.

    Args:
        profile: a key of the profiles.
        patients: how many, at least three.

    Returns:
        The folder and the patients.

    Raises:
        AxspaError: the profile holds real patients, too few patients are asked for, or the sample is too large.
        MissingResultError: the run has not finished.
    """
    study = load_study(profile)
    if real := [name for name in study.cohorts if name not in study.phantoms]:
        raise AxspaError(f"profile {profile} holds real patients ({', '.join(real)}): only phantoms are sampled")
    if patients < 3:
        raise AxspaError(f"{patients} patients cannot show every case: ask for three or more")
    root, target = runs_root() / profile, sample_root() / profile
    read_run(root / "cohorts" / study.training_cohort)
    run = Run(profile)
    chosen = choose(run, patients)
    shutil.rmtree(target, ignore_errors=True)
    for path in _images(run, chosen):
        copy = target / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gz":
            copy.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 9, mtime=0))
        else:
            shutil.copyfile(path, copy)
    size = sum(path.stat().st_size for path in sample_root().rglob("*") if path.is_file())
    if size > LARGEST:
        shutil.rmtree(target)
        raise AxspaError(
            f"the sample has {size / 1e6:.1f} MB, at most 15 are kept: take fewer patients than {patients}"
        )
    return target, chosen


def choose(run: Run, count: int) -> list[str]:
    """Return patients that show what chapters look for, small examinations of other manufacturers first.

    One held out from the bone networks, one that the detector learnt from, then positive and negative test patients.
    """
    cohort = run.cohort()
    folder = run.layout.segmentation(cohort.name, run.study.increment.rounds, run.first_fold(None))
    increment = pd.read_csv(folder / "increment.csv", dtype={"patient": str})
    accepted = set(increment.loc[increment["accepted"], "patient"])
    rows = {patient: row for patient, row in cohort.rows.items() if patient in accepted}
    tested, learnt = (rows.keys() & cohort.subset("detection", name) for name in (TEST, TRAIN))
    held_out = rows.keys() & cohort.subset("bones", TEST)
    positive = {patient for patient in tested if rows[patient]["positive"]}
    both = held_out & learnt
    wanted = [both] if both else [held_out, learnt]
    chosen: list[str] = []
    for turn in range(count):
        kind = wanted[turn] if turn < len(wanted) else (positive, tested - positive)[(turn - len(wanted)) % 2]
        makers = {rows[patient]["manufacturer"] for patient in chosen}
        order = [
            (rows[patient]["manufacturer"] in makers, rows[patient]["slices"] * rows[patient]["rows"] ** 2, patient)
            for patient in kind - set(chosen)
        ]
        chosen += [patient for _, _, patient in sorted(order)[:1]]
    return sorted(chosen)


def _images(run: Run, patients: list[str]) -> Iterator[Path]:
    """Yield images, masks and sidecars of patients, and the instances of all."""
    cohort = run.cohort()
    for patient in patients:
        for sequence in SEQUENCES:
            image = cohort.path / cohort.rows[patient][f"{sequence.lower()}_file"]
            yield from (image, image.with_name(image.name.removesuffix(".nii.gz") + ".json"))
        label = file_label(patient)
        yield from sorted((cohort.path / "derivatives").rglob(f"{label}_desc-*.nii.gz"))
        yield from sorted((run.layout.root / "segmentations").glob(f"**/{cohort.name}/{label}_desc-*.nii.gz"))
        slices = run.layout.root / "slices" / run.study.data_id()
        yield from sorted(slices.glob(f"**/{cohort.name}/{label}_*.nii.gz"))
    yield from sorted((run.layout.root / "slices" / run.study.data_id()).rglob("instances.json"))
