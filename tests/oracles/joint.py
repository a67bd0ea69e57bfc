"""Algorithm 1 as the authors' demo runs it, in plain scikit-image and SciPy calls on whole images.

Written from the facts of the demo. Its faults are not repeated: a box that is lengthened past the left edge
becomes empty there (a negative index), and a component without a skeleton, or of which the opening leaves nothing
(possible only with a wing fraction near 1), stops the patient.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage import measure, morphology

from axspa_lib.study.config import Joint


def reference_joint(bones: np.ndarray, params: Joint) -> np.ndarray:
    """Joint mask `(row, column)` uint8: 1 the largest region of the left half of the image, 2 of the right half."""
    sacrum = bones == 1
    columns = bones.shape[1]
    union = np.zeros(bones.shape, bool)
    labels = measure.label(bones == 2)
    for region in measure.regionprops(labels):
        component = labels == region.label
        left = region.centroid[1] < columns // 2
        if not (_box(component, left, int(params.contact_fraction * columns)) & sacrum).any():
            continue
        component = _without_wings(component, params.wing_fraction)
        if not component.any():
            continue
        dilated = morphology.dilation(component, morphology.disk(params.dilation_radius))
        union |= dilated | (_box(dilated, left, int(params.horizontal_fraction * columns)) & sacrum)
    filled = ndimage.binary_fill_holes(morphology.closing(union, morphology.disk(params.closing_radius)))
    joint = np.zeros(bones.shape, np.uint8)
    middle = columns // 2
    joint[:, :middle][_largest(filled[:, :middle])] = 1
    joint[:, middle:][_largest(filled[:, middle:])] = 2
    return joint


def _box(mask: np.ndarray, left: bool, length: int) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    first, last = columns.min() - (0 if left else length), columns.max() + (length if left else 0)
    result = np.zeros_like(mask)
    result[rows.min() : rows.max() + 1, max(first, 0) : last + 1] = True
    return result


def _without_wings(component: np.ndarray, fraction: float) -> np.ndarray:
    rows, columns = np.nonzero(component)
    crop = component[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    distance = ndimage.distance_transform_edt(crop)
    skeleton = morphology.skeletonize(crop)
    radius = int(distance[skeleton if skeleton.any() else crop].max() * fraction)
    radius = radius if crop.all() else min(radius, int(np.ceil(distance.max())) - 1)
    opened = measure.label(morphology.opening(crop, morphology.disk(radius)))
    lowest = max(measure.regionprops(opened), key=lambda region: region.centroid[0])
    first_row = rows.min() + lowest.bbox[0]
    result = component.copy()
    result[: first_row + 1] = False
    return result


def _largest(mask: np.ndarray) -> np.ndarray:
    labels = measure.label(mask)
    sizes = np.bincount(labels.ravel())[1:]
    if not len(sizes):
        return mask
    return labels == 1 + np.flatnonzero(sizes == sizes.max())[-1]
