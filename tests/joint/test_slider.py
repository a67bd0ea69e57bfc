"""The slider over slices: one picture a slice, one shown, words for who cannot see it, nothing from elsewhere."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from axspa_lib.joint.slider import SliceSlider, joint_slider
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume


class Elements(HTMLParser):
    """Start tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_every_slice_has_a_picture_and_the_middle_one_is_shown() -> None:
    image = np.random.default_rng(0).random((5, 40, 60)).astype(np.float32)
    bones = np.zeros(image.shape, np.uint8)
    bones[1:, 10:20, 10:30] = 2
    volume = Volume(image, np.diag([4.0, 1.0, 1.0, 1.0]))
    joints = volume.like((bones == 2).astype(np.uint8))
    html = joint_slider(volume, joints, volume.like(bones), "phantom")._repr_html_()
    elements = Elements(html).found
    pictures = [values for tag, values in elements if tag == "img"]
    assert [picture["data-name"][0] for picture in pictures] == list("01234")
    assert ["hidden" in picture for picture in pictures] == [True, True, False, True, True]
    assert all(picture["alt"].startswith("MRI slice with outlined bones") for picture in pictures)
    slider = next(values for tag, values in elements if tag == "input")
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "4", "2") and "hidden=place!=" in slider["oninput"]
    assert "PHANTOM" in html and "http" not in html
    kind, content = pictures[0]["src"].split(",", 1)
    shown = Image.open(io.BytesIO(base64.b64decode(content)))
    assert kind == "data:image/webp;base64" and shown.width > 300 and shown.getextrema()[0][1] > 0


def test_nothing_to_slide_over_is_said() -> None:
    with pytest.raises(DataError, match="the volume is empty"):
        SliceSlider([], [], "nothing", "phantom")
