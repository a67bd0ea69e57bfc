"""Rotation and flip: their own inverse gives back the instances; masks stay binary; boxes follow the masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from axspa_lib.detector.augment import MIN_KEPT, Move, boxes_around, draw, transform, warp_opencv, warp_torch
from axspa_lib.detector.network.resize import resize_masks
from axspa_lib.study.config import Augmentation

ROWS, COLUMNS = 80, 96


def blob(row: float, column: float, height: float = 12, width: float = 7, tilt: float = 0.4) -> torch.Tensor:
    y, x = np.mgrid[:ROWS, :COLUMNS]
    across = (x - column) * np.cos(tilt) - (y - row) * np.sin(tilt)
    along = (x - column) * np.sin(tilt) + (y - row) * np.cos(tilt)
    return torch.from_numpy((across / width) ** 2 + (along / height) ** 2 < 1)


moves = st.builds(Move, st.booleans(), st.floats(-15, 15))
centres = st.tuples(st.floats(30, 50), st.floats(36, 60))


@settings(max_examples=60, deadline=None)
@given(moves, centres)
def test_the_inverse_gives_back_mask_box_side_and_image(move: Move, centre: tuple[float, float]) -> None:
    mask = blob(*centre)[None]
    image = torch.nn.functional.avg_pool2d(mask[None].float(), 5, 1, 2)[0] * 200
    moved, masks, _, sides, kept = transform(image, mask, ["R"], move)
    back, again, boxes, back_sides, _ = transform(moved, masks, sides, move.inverse())
    assert kept.tolist() == [0] and back_sides == ["R"] and masks.dtype == again.dtype == torch.bool
    overlap = (again & mask).sum() / (again | mask).sum()
    assert overlap > 0.9
    assert (boxes - boxes_around(mask)).abs().max() <= 1.5
    assert (back - image).abs().mean() < 2


@settings(max_examples=40, deadline=None)
@given(moves, centres)
def test_boxes_are_tight_around_binary_masks_of_the_same_area(move: Move, centre: tuple[float, float]) -> None:
    mask = blob(*centre)[None]
    _, masks, boxes, _, _ = transform(mask.float(), mask, ["L"], move)
    y, x = masks[0].nonzero(as_tuple=True)
    assert boxes[0].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
    assert int(masks.sum()) == pytest.approx(int(mask.sum()), rel=0.05)


def test_a_flip_alone_is_exact_and_changes_sides() -> None:
    masks = torch.stack([blob(40, 25), blob(38, 70)])
    image = torch.arange(ROWS * COLUMNS).reshape(1, ROWS, COLUMNS) % 251
    moved, flipped, boxes, sides, _ = transform(image, masks, ["R", "L"], Move(flip=True))
    torch.testing.assert_close(moved, image.float().flip(2), atol=1e-2, rtol=0)
    assert torch.equal(flipped, masks.flip(2)) and sides == ["L", "R"]
    before = boxes_around(masks)
    assert boxes[:, 0].tolist() == (COLUMNS - before[:, 2]).tolist()


def test_a_quarter_turn_of_a_square_is_the_exact_rotation() -> None:
    image = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(0))
    moved, *_ = transform(image, torch.zeros((0, 64, 64), dtype=torch.bool), [], Move(angle=90.0))
    best = min((moved - torch.rot90(image, k, (1, 2))).abs().max() for k in (1, 3))
    assert best < 1e-3


def test_nothing_to_do_changes_no_bit() -> None:
    image = torch.randint(0, 256, (2, ROWS, COLUMNS), dtype=torch.uint8)
    moved, *_ = transform(image, blob(40, 40)[None], ["R"], Move())
    assert torch.equal(moved, image.float())


def test_an_instance_rotated_out_of_the_image_is_lost_and_the_other_stays() -> None:
    masks = torch.stack([blob(4, 4, 5, 5), blob(40, 48)])
    _, out, boxes, sides, kept = transform(masks.float(), masks, ["R", "L"], Move(angle=15.0))
    inside = transform(masks.float(), masks, ["R", "L"], Move(angle=15.0))[1].flatten(1).sum(1)
    assert kept.tolist() == [1] and len(out) == len(boxes) == 1 and sides == ["L"]
    assert (inside / masks[kept].flatten(1).sum(1) >= MIN_KEPT).all()


def test_no_instance_is_no_error() -> None:
    _, masks, boxes, sides, kept = transform(
        torch.zeros(2, ROWS, COLUMNS), torch.zeros((0, ROWS, COLUMNS), dtype=torch.bool), [], Move(True, 7.0)
    )
    assert masks.shape == (0, ROWS, COLUMNS) and boxes.shape == (0, 4) and sides == [] and len(kept) == 0


@settings(max_examples=25, deadline=None)
@given(moves)
def test_what_runs_on_a_gpu_moves_as_what_runs_on_a_cpu(move: Move) -> None:
    image = torch.nn.functional.avg_pool2d(torch.rand(1, 1, ROWS, COLUMNS), 7, 1, 3)[0] * 255
    inside = (slice(None), slice(20, -20), slice(20, -20))
    assert (warp_opencv(image, move) - warp_torch(image, move))[inside].abs().max() < 1
    masks = torch.stack([blob(40, 25), blob(38, 70)]).float()
    differing = (warp_opencv(masks, move) >= 0.5) != (warp_torch(masks, move) >= 0.5)
    assert differing.sum() <= 0.02 * masks.sum()


def test_masks_are_resized_with_their_slice() -> None:
    mask = blob(40, 40)[None]
    assert (boxes_around(resize_masks(mask, (160, 192))) - 2 * boxes_around(mask)).abs().max() <= 1
    assert resize_masks(mask[:0], (160, 192)).shape == (0, 160, 192)


def test_draws_stay_in_their_range_and_an_ablation_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw(Augmentation(), rng) for _ in range(300)]
    assert 0.4 < np.mean([m.flip for m in drawn]) < 0.6
    assert max(abs(m.angle) for m in drawn) <= 15 and np.std([m.angle for m in drawn]) > 7
    assert draw(Augmentation(flip=False, rotation_deg=0), rng) == Move()
