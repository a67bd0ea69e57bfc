"""Algorithm 1 on one slice, at two matrix sizes, against plain scikit-image calls."""

from __future__ import annotations

import numpy as np

from axspa_lib.joint.algorithm1 import extract_joint
from axspa_lib.study.config import Joint
from tests.bench.harness import Benchmark
from tests.bench.images import bone_mask
from tests.oracles.joint import reference_joint


def benchmarks() -> list[Benchmark]:
    """At 256 x 256 (the published patient) and 512 x 512 (the finest matrix of the cohort's scanners)."""
    found = []
    for size, target in ((256, 12.0), (512, 40.0)):
        bones = bone_mask(size)
        equal = np.array_equal(extract_joint(bones, Joint()), reference_joint(bones, Joint()))
        found.append(
            Benchmark(
                f"Algorithm 1, {size} x {size}",
                ours=lambda bones=bones: extract_joint(bones, Joint()),
                reference=lambda bones=bones: reference_joint(bones, Joint()),
                repeats=7,
                ours_name="distance transforms",
                reference_name="scikit-image morphology",
                agreement="identical masks" if equal else "masks differ",
                target=target,
            )
        )
    return found
