"""A network runs in bfloat16 only where the processor is made for it."""

from __future__ import annotations

import pytest
import torch

from axspa_lib.networks import precision


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_a_product_has_the_precision_that_used_names(able: bool, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_in_tiles", lambda: able)
    a, b = torch.full((2, 2), 1 + 2.0**-12), torch.eye(2)  # 1 in bfloat16, which keeps 8 bits
    with precision.autocast("cpu", wanted):
        product = a @ b
    named = precision.used("cpu", wanted)
    assert named == ("bfloat16" if able and wanted == "bfloat16" else "float32")
    assert product.dtype == getattr(torch, named)
    assert (float(product[0, 0]) == 1.0) == (named == "bfloat16")


def test_a_gpu_keeps_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_in_tiles", lambda: False)
    assert precision.used("cuda", "bfloat16") == "bfloat16"
