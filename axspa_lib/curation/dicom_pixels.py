"""Decode the pixels of a DICOM slice: rescale and MONOCHROME1 undone, padding made background."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from axspa_lib.curation import deidentify as allow
from axspa_lib.curation.dicom import MR, guarded
from axspa_lib.study.errors import DataError

#: Transfer syntaxes without compressed pixels.
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)


@guarded
def read_pixels(path: Path, dataset: pydicom.Dataset, index: int | None = None, header: Any = None) -> NDArray[Any]:
    """Return the pixels `(row, column)` of a slice: rescale and MONOCHROME1 undone, padding made background.

    Integer where the file's scale allows, else float32.
    """
    if "PixelData" not in dataset:
        raise DataError(f"{path.name}: holds no pixel data; export the images, not only their headers")
    syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
    if int(dataset.Rows) * int(dataset.Columns) > 2**24:
        raise DataError(f"{path.name}: claims {dataset.Rows} x {dataset.Columns} pixels; export it again")
    try:
        array = dataset.pixel_array if _decodable(syntax) else _decoded_by_gdcm(dataset, index or 0)
    except Exception as error:
        if syntax in _NATIVE:
            what = f"pixel data truncated or damaged ({type(error).__name__}); export it again"
        else:
            what = (
                f"pixel data compressed as {_syntax_name(syntax)} and not decoded ({type(error).__name__}), damaged or "
                "of a kind that no decoder here reads; export it uncompressed, or decompress it with `gdcmconv --raw`"
            )
        raise DataError(f"{path.name}: {what}") from None
    array = array[index or 0] if array.ndim == 3 and index is not None else array
    if array.ndim != 2:
        raise DataError(
            f"{path.name}: holds {array.ndim}-dimensional pixels where one slice is needed; export it again"
        )
    header = header or allow.frames(dataset)[index or 0]
    padding = _padding(array, header)
    if allow.text(header, "PhotometricInterpretation").strip() == "MONOCHROME1":
        array = _inverted(array, header)
    slope = allow.number(header, "RescaleSlope")
    intercept = allow.number(header, "RescaleIntercept")
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if slope == 0:
        raise DataError(f"{path.name}: has a RescaleSlope of zero; export it again")
    if (slope, intercept) != (1.0, 0.0):
        array = (array * slope + intercept).astype(np.float32)
    if padding is not None:
        array = np.where(padding, min(array[~padding].min(), 0), array).astype(array.dtype)
    return array


def _padding(array: NDArray[Any], header: Any) -> NDArray[np.bool_] | None:
    """Where stored values are padding (`PixelPaddingValue` to its range limit), if anywhere and not everywhere."""
    value = allow.number(header, "PixelPaddingValue")
    if value is None:
        return None
    limit = allow.number(header, "PixelPaddingRangeLimit")
    ends = np.array([value, value if limit is None else limit], np.int64).astype(array.dtype)  # signed as the pixels
    padding = (array >= ends.min()) & (array <= ends.max())
    return padding if padding.any() and not padding.all() else None


def _inverted(array: NDArray[Any], dataset: pydicom.Dataset) -> NDArray[Any]:
    """MONOCHROME1 (bright is low) turned round within the stored range."""
    bits = int(allow.number(dataset, "BitsStored") or array.dtype.itemsize * 8)
    signed = bool(allow.number(dataset, "PixelRepresentation"))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return (low + high - array.astype(np.int32)).astype(np.int32)


def _decodable(syntax: UID) -> bool:
    """Return whether pydicom reads this transfer syntax with the installed decoders."""
    from pydicom.pixels import get_decoder

    try:
        return syntax in _NATIVE or bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _decoded_by_gdcm(dataset: pydicom.Dataset, index: int) -> NDArray[Any]:
    """Stored values of a frame as SimpleITK's GDCM decodes them: JPEG lossless and JPEG-LS, without pydicom's plugins.

    GDCM sees nothing but the compressed image, so that it applies no scale of its own.
    """
    import SimpleITK as sitk

    bare = pydicom.Dataset()
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
                    "HighBit", "PixelRepresentation"):  # fmt: skip
        bare[keyword] = dataset[keyword]
    frames = int(allow.number(dataset, "NumberOfFrames") or 1)
    bare.PixelData = encapsulate([get_frame(dataset.PixelData, index, number_of_frames=frames)])
    bare["PixelData"].is_undefined_length = True
    bare.SOPClassUID, bare.SOPInstanceUID = MR, "1.2.3"
    bare.file_meta = pydicom.dataset.FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        pydicom.dcmwrite(file.name, bare, enforce_file_format=True)
        array: NDArray[Any] = sitk.GetArrayFromImage(sitk.ReadImage(file.name))
    return array.squeeze(0)


def _syntax_name(syntax: UID) -> str:
    return syntax.name if syntax.is_transfer_syntax else "an unknown transfer syntax"
