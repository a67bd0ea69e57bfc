"""Kinds of awkward input from bug reports of other tools: each becomes the right cohort or one line with the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from axspa_lib.curation.curate import curate
from axspa_lib.curation.open import open_source
from axspa_lib.study.cohort import Cohort


def curated(folder: Path, **options: Any) -> Cohort:
    out = folder.parent / "out" / "lab"
    return Cohort(
        curate(open_source(folder), out, **({"seed": 0, "bones_split": None, "detection_split": None} | options))
    )


def assert_ramp(make: Any, volume: Any, slices: int = 6) -> None:
    """The volume has so many slices and every voxel tells its own place."""
    index = np.stack(np.meshgrid(*map(np.arange, volume.array.shape), indexing="ij"), axis=-1)
    world = (index @ volume.affine[:3, :3].T + volume.affine[:3, 3]) * [-1, -1, 1]
    assert len(volume.array) == slices and np.abs(volume.array - make.ramp(world)).max() <= 1


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("limit", [None, -32760])
def test_padding_becomes_background(make: Any, tmp_path: Path, signed: bool, limit: int | None) -> None:
    def pad(ds: Any, index: int) -> Any:
        image = np.frombuffer(ds.PixelData, "<i2").reshape(ds.Rows, ds.Columns).copy()
        image[:3, :4] = -32768
        ds.PixelData, ds.PixelRepresentation = image.tobytes(), int(signed)
        ds.PixelPaddingValue = -32768 if signed else 32768
        if limit is not None:
            ds.PixelPaddingRangeLimit = limit if signed else limit + 65536
        return ds

    make.pair(tmp_path / "in" / "P1", {"edit": pad}, {"edit": pad})
    cohort = curated(tmp_path / "in")
    image = cohort.volume(cohort.patients[0], "T1").array
    assert (image == 0).sum() == 6 * 12 and image[image > 0].min() > 700 and image.max() < 1100


@pytest.mark.parametrize("meta", ["none, implicit", "none, explicit", "without a transfer syntax"])
def test_files_without_preamble_or_syntax_are_read(make: Any, tmp_path: Path, meta: str) -> None:
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    make.pair(tmp_path / "in" / "P1")
    for file in (tmp_path / "in" / "P1" / "T1").iterdir():
        ds = pydicom.dcmread(file)
        content = DicomBytesIO()
        content.is_little_endian, content.is_implicit_VR = True, meta != "none, explicit"
        ds.file_meta = None
        write_dataset(content, ds)
        thin = b"\2\0\2\0UI\x1a\0" + b"1.2.840.10008.5.1.4.1.1.4\0"
        head = b"\0" * 128 + b"DICM\2\0\0\0UL\4\0" + len(thin).to_bytes(4, "little") + thin
        file.write_bytes((head if meta.startswith("without") else b"") + content.getvalue())
    cohort = curated(tmp_path / "in")
    assert_ramp(make, cohort.volume(cohort.patients[0], "T1"))
