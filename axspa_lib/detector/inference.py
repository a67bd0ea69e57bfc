"""Detections of whole cohorts, slice by slice, and their Parquet file (section 3.2.1)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from axspa_lib.detector.data import Image, three_channels
from axspa_lib.detector.instances import decode_rle, encode_rle
from axspa_lib.detector.network.interface import Detections, DetectorNetwork
from axspa_lib.detector.network.resize import fed_size, paste, resize
from axspa_lib.detector.network.runtime import prepared
from axspa_lib.networks.precision import autocast
from axspa_lib.study.config import Detector
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import LEFT, RIGHT

_FLOATS = ("x0", "y0", "x1", "y1", "score")

#: Columns of a table of detections and their types; one row per detection.
COLUMNS = (
    {"patient": pa.string(), "slice": pa.int32()}
    | dict.fromkeys(_FLOATS, pa.float32())
    | {"label": pa.int8(), "p_healthy": pa.float32(), "p_inflamed": pa.float32()}
    | {"side": pa.string(), "mask_rle": pa.string(), "height": pa.int32(), "width": pa.int32()}
)


def predict(
    model: DetectorNetwork,
    images: Iterable[Image],
    config: Detector,
    device: str = "cpu",
    batch_size: int | None = None,
) -> pd.DataFrame:
    """Detect the joints of slices, one batch at a time, by the runtime of `network.runtime`.

    Args:
        model: from `build_detector`, with trained weights.
        images: `(patient, slice, image)`, image `(2, rows, columns)` uint8 on the detector's grid: a `DetectionData`.
        config: the detector's configuration.
        device: where the network runs.
        batch_size: slices at a time; 1 on a CPU and 16 on a GPU without it.

    Returns:
        One row per detection with a score of at least `config.store_threshold`, columns `COLUMNS`; boxes in pixels of
        the detector's grid; `side` is the patient's side by the box centre (image left is `R`).

    Raises:
        DataError: the network gave values that are not finite.
    """
    model = prepared(model, config, device)
    batch_size = batch_size or (1 if device == "cpu" else 16)
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        for batch in _batches(images, batch_size):
            sizes = [(int(i.shape[-2]), int(i.shape[-1])) for _, _, i in batch]
            fed = [
                resize(three_channels(i.to(device), config.channels), fed_size(*s, config.min_size, config.max_size))
                for (_, _, i), s in zip(batch, sizes, strict=True)
            ]
            with autocast(device, config.precision):
                found = model.detect(fed)
            for (patient, index, _), size, image, detections in zip(batch, sizes, fed, found, strict=True):
                rows += _rows(patient, index, size, (int(image.shape[-2]), int(image.shape[-1])), detections)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(
        {name: kind.to_pandas_dtype() for name, kind in COLUMNS.items() if kind != pa.string()}
    )


def write_predictions(path: Path, table: pd.DataFrame) -> None:
    """Write detections as Parquet; the same table gives the same bytes."""
    arrow = pa.Table.from_pandas(table[list(COLUMNS)], pa.schema(list(COLUMNS.items())), preserve_index=False)
    arrow = arrow.replace_schema_metadata(None)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        pq.write_table(arrow, part, compression="zstd")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_predictions(path: Path) -> pd.DataFrame:
    """Read what `write_predictions` wrote.

    Raises:
        DataError: the file is missing, unreadable or lacks a column.
    """
    try:
        table = pq.read_table(path).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path}: not a readable table of detections ({type(error).__name__}); run the detector again"
        ) from None
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise DataError(f"{path}: lacks the column {missing[0]!r}; run the detector again")
    return table


def decode_mask(row: Any) -> np.ndarray:
    """Return the mask `(row, column)` bool of one row of a table of detections."""
    return decode_rle({"size": [int(row["height"]), int(row["width"])], "counts": row["mask_rle"]})


def _batches(images: Iterable[Image], size: int) -> Iterator[list[Image]]:
    iterator = iter(images)
    while batch := list(islice(iterator, size)):
        yield batch


def _rows(
    patient: str, index: int, size: tuple[int, int], fed: tuple[int, int], found: Detections
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one slice: boxes and masks brought back from the fed size to the slice's own."""
    if not all(v.isfinite().all() for v in (found.boxes, found.scores)):
        raise DataError(f"patient {patient}, slice {index}: the detector gave values that are not finite")
    scale = found.boxes.new_tensor([size[1] / fed[1], size[0] / fed[0]] * 2)
    boxes = found.boxes * scale
    boxes[:, 0::2] = boxes[:, 0::2].clamp(0, size[1])
    boxes[:, 1::2] = boxes[:, 1::2].clamp(0, size[0])
    for number in range(len(boxes)):
        x0, y0, x1, y1 = boxes[number].tolist()
        if x1 <= x0 or y1 <= y0:
            continue
        mask = paste(found.masks[number], boxes[number], size).cpu().numpy()
        place = {"patient": patient, "slice": index, "x0": x0, "y0": y0, "x1": x1, "y1": y1}
        yield place | {
            "score": float(found.scores[number]),
            "label": int(found.labels[number]),
            "p_healthy": float(found.probabilities[number, 0]),
            "p_inflamed": float(found.probabilities[number, 1]),
            "side": RIGHT if (x0 + x1) / 2 < size[1] / 2 else LEFT,
            "mask_rle": encode_rle(mask)["counts"],
            "height": size[0],
            "width": size[1],
        }
