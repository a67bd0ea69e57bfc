"""Small people and protocols for the tests of the simulator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from axspa_lib.phantom.person.anatomy import Body, Pose, Subject, draw_subject
from axspa_lib.phantom.physics.scanner import Protocol, centre_protocol, mixes


@pytest.fixture(scope="session")
def subject() -> Subject:
    """A person."""
    return draw_subject(np.random.default_rng(3))


@pytest.fixture(scope="session")
def body(subject: Subject) -> Body:
    """That person lying straight."""
    return Body(subject, Pose())


@pytest.fixture(scope="session")
def protocol() -> Protocol:
    """A small quiet acquisition: 3 slices of 220 mm at 1.5 T."""
    habit = centre_protocol(mixes()["phantom-desir"], 1, np.random.default_rng(0))
    t1 = replace(habit.t1, read_mm=1.4, phase_mm=1.8, noise=0.0, ghost=0.0)
    stir = replace(habit.stir, read_mm=1.4, phase_mm=1.8, noise=0.0, ghost=0.0)
    return replace(
        habit, slices=3, fov=220.0, matrix=160, thickness=4.0, gap=1.0, first_z=12.0, centre_xy=(0.0, 35.0), t1=t1,
        stir=stir, field_t=1.5,
    )  # fmt: skip
