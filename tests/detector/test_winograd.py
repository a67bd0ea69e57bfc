"""Winograd's convolution is the convolution: against torch's own in float64, for every size a feature map may have."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from axspa_lib.detector.winograd import WinogradConv

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 2), st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.booleans(),
       st.booleans())  # fmt: skip
def test_it_is_the_convolution(
    images: int, rows: int, columns: int, channels: int, made: int, with_bias: bool, relu: bool
) -> None:
    generator = torch.Generator().manual_seed(rows * 41 + columns)
    value = torch.randn(images, channels, rows, columns, generator=generator)
    weight = torch.randn(made, channels, 3, 3, generator=generator)
    bias = torch.randn(made, generator=generator) if with_bias else None
    expected = F.conv2d(value.double(), weight.double(), None if bias is None else bias.double(), padding=1)
    expected = expected.relu() if relu else expected
    found = WinogradConv(weight, bias, relu)(value)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 2e-5 * expected.abs().max().clamp(min=1)


def test_the_pyramids_convolution_is_within_a_tenth_of_the_golden_tolerance() -> None:
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(1, 256, 48, 64, generator=generator).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(256, 256, 3, 3, generator=generator) / 48
    expected = F.conv2d(value.double(), weight.double(), padding=1)
    error = (WinogradConv(weight, None)(value) - expected).abs().max()
    assert error <= 2e-5 * expected.abs().max()
