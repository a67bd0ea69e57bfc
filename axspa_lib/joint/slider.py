"""A slider over the slices of a volume in plain HTML: no widget, no kernel, nothing fetched."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from axspa_lib.joint.figures import joints_over_volume
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import MARKS
from axspa_lib.study.volume import Volume

#: Shows the picture whose number the slider has, and says its name.
_MOVE = (
    "const box=this.closest('.slices');"
    "box.querySelectorAll('img').forEach((picture,place)=>{picture.hidden=place!=this.value;"
    "if(!picture.hidden)box.querySelector('output').value=picture.dataset.name})"
)


class SliceSlider:
    """Pictures of which one is shown; without JavaScript it stays the one in the middle."""

    def __init__(self, pictures: Sequence[Figure], names: Sequence[str], alt: str, kind: str) -> None:
        """Make it.

        Args:
            pictures: one for each slice, in order.
            names: of each, shown beside the slider.
            alt: what the pictures show, in words.
            kind: "phantom" or "real".
        """
        if not pictures:
            raise DataError("no slice to show: the volume is empty")
        self.pictures, self.names, self.alt, self.kind = list(pictures), list(names), alt, kind

    def __repr__(self) -> str:
        return f"slider over {len(self.pictures)} slices"

    def _repr_html_(self) -> str:
        middle = len(self.pictures) // 2
        images = "".join(
            f'<img src="{_picture(figure)}" data-name="{escape(name)}" alt="{escape(f"{self.alt}, {name}")}"'
            f"{'' if place == middle else ' hidden'}>"
            for place, (figure, name) in enumerate(zip(self.pictures, self.names, strict=True))
        )
        return (
            f'<div class="slices" style="max-width:440px"><label style="display:block">slice '
            f'<input type="range" min="0" max="{len(self.pictures) - 1}" value="{middle}" style="width:60%" '
            f'oninput="{escape(_MOVE)}"> <output>{escape(self.names[middle])}</output></label>{images}'
            f'<p class="mark-of-data">{MARKS[self.kind]}</p></div>'
        )


def joint_slider(volume: Volume, joints: Volume, bones: Volume, kind: str) -> SliceSlider:
    """Show the joints and bones outlined over every slice of a volume, one at a time.

    Args:
        volume: `(slice, row, column)`, the image.
        joints: joint mask on its grid.
        bones: bone mask on its grid.
        kind: "phantom" or "real".
    """
    count = len(volume.array)
    shown = np.arange(count)
    pictures = [joints_over_volume(volume, joints, bones, [int(index)], columns=1, width=4.0) for index in shown]
    names = [f"{index}, from 0 (anterior) to {count - 1} (posterior)" for index in shown]
    return SliceSlider(pictures, names, "MRI slice with outlined bones and joint regions", kind)


def _picture(figure: Figure) -> str:
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").save(small, format="webp", quality=70, method=4)
    return f"data:image/webp;base64,{base64.b64encode(small.getvalue()).decode()}"
