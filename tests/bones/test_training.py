"""Training of the bone networks: slices, augmentation and loss against independent computations; resume."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage

from axspa_lib.bones import training as bone_training
from axspa_lib.bones.dice import dice_by_patient, dice_by_slice
from axspa_lib.bones.slices import BoneSlices, Pose, apply_pose, bone_slices, draw_pose
from axspa_lib.bones.training import train_bones, validate, weighted_cross_entropy
from axspa_lib.bones.unet import build_unet, load_weights, predict_bones
from axspa_lib.study.config import BoneAugmentation, BoneNets
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume

TINY = BoneNets(
    architecture="smp",
    encoder="tu-test_resnet",
    decoder_channels=(24, 16, 8),
    norm_momentum=0.3,
    size=64,
    learning_rate=2e-3,
    schedule="cosine",
    batch_size=4,
    epochs=3,
)


def patient(seed: int, slices: int = 4) -> tuple[str, Volume, Volume]:
    """Two bright ilia beside a grey sacrum in noise, 80 x 72 pixels; the first slice shows no sacrum."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:80, :72]
    mask = np.zeros((slices, 80, 72), np.uint8)
    for index in range(slices):
        row, column = 40 + random.normal(0, 3), 36 + random.normal(0, 2)
        for side in (-1, 1):
            mask[index][((y - row) / 24) ** 2 + ((x - column - side * 22) / 8) ** 2 < 1] = 2
        if index:
            mask[index][((y - row) / 18) ** 2 + ((x - column) / 11) ** 2 < 1] = 1
    levels = np.array([50, 110, 190])[mask] + random.normal(0, 12, mask.shape)
    affine = np.diag([4.0, 1.0, 1.0, 1.0])
    return f"P{seed}", Volume(np.clip(levels, 0, 255).astype(np.uint8), affine), Volume(mask, affine)


@pytest.fixture(scope="module")
def training() -> BoneSlices:
    return bone_slices((patient(seed) for seed in range(8)), TINY.size)


@pytest.fixture(scope="module")
def validation() -> BoneSlices:
    return bone_slices((patient(seed) for seed in (100, 101)), TINY.size)


def test_slices_carry_their_patient_and_index(training: BoneSlices) -> None:
    assert training.images.shape == training.masks.shape == (32, 64, 64)
    assert training.images.dtype == training.masks.dtype == np.uint8
    assert training.patients[:5] == ["P0"] * 4 + ["P1"] and training.slices[:5] == [0, 1, 2, 3, 0]
    assert set(np.unique(training.masks)) == {0, 1, 2}
    original = np.mean([(patient(seed)[2].array == 2).mean() for seed in range(8)])
    # the frame pads 72 columns to 80
    assert (training.masks == 2).mean() == pytest.approx(original * 72 / 80, rel=0.03)


def test_slices_without_any_bone_are_left_out() -> None:
    name, t1, bones = patient(5)
    bones.array[2] = 0
    data = bone_slices([(name, t1, bones)], 64)
    assert data.slices == [0, 1, 3] and len(data) == len(data.images) == len(data.masks) == len(data.patients) == 3


def test_no_volumes_make_no_slices() -> None:
    assert len(bone_slices([], 64)) == 0


def test_unusable_volumes_name_the_patient() -> None:
    name, t1, bones = patient(3)
    cases = [
        ((name, Volume(t1.array.astype(np.float32), t1.affine), bones), "P3.*preprocessed to uint8"),
        ((name, Volume(t1.array[:, 1:], t1.affine), bones), "P3.*grid of its bone mask"),
        ((name, t1, Volume(bones.array + 1, bones.affine)), r"P3.*this holds 1, 2, 3"),
        ((name, t1, Volume(bones.array.astype(np.int32), bones.affine)), "P3.*int32"),
    ]
    for volume, words in cases:
        with pytest.raises(DataError, match=words):
            bone_slices([volume], 64)


def test_drawn_poses_are_uniform_within_the_limits_and_reproducible() -> None:
    pose = draw_pose(4000, BoneAugmentation(), torch.Generator().manual_seed(1))
    again = draw_pose(4000, BoneAugmentation(), torch.Generator().manual_seed(1))
    assert torch.equal(pose.flips, again.flips) and torch.equal(pose.angles, again.angles)
    degrees = torch.rad2deg(pose.angles)
    assert degrees.min() == pytest.approx(-15, abs=0.1) and degrees.max() == pytest.approx(15, abs=0.1)
    assert (degrees.abs() < 7.5).float().mean() == pytest.approx(0.5, abs=0.03)
    assert set(pose.flips.tolist()) == {-1.0, 1.0} and pose.flips.mean() == pytest.approx(0, abs=0.05)


def test_augmentation_switched_off_changes_nothing(training: BoneSlices) -> None:
    pose = draw_pose(32, BoneAugmentation(flip=False, rotation_deg=0))
    images = torch.from_numpy(training.images)[:, None].float()
    masks = torch.from_numpy(training.masks).long()
    turned, labels = apply_pose(images, masks, pose)
    torch.testing.assert_close(turned, images, atol=0.02, rtol=0)
    assert torch.equal(labels, masks)


def test_flip_and_quarter_turn_equal_torchs(training: BoneSlices) -> None:
    images = torch.from_numpy(training.images[:2])[:, None].float()
    masks = torch.from_numpy(training.masks[:2]).long()
    flipped, labels = apply_pose(images, masks, Pose(torch.tensor([-1.0, -1.0]), torch.zeros(2)))
    torch.testing.assert_close(flipped, images.flip(-1), atol=0.02, rtol=0)
    assert torch.equal(labels, masks.flip(-1))
    turned, _ = apply_pose(images, masks, Pose(torch.ones(2), torch.full((2,), np.pi / 2)))
    torch.testing.assert_close(turned, images.rot90(1, (-2, -1)), atol=0.1, rtol=0)


def test_zoom_shift_and_contrast_are_drawn_within_their_limits_only_where_asked_for() -> None:
    plain = draw_pose(9, BoneAugmentation())
    assert plain.zooms is None and plain.shifts is None and plain.gammas is None
    pose = draw_pose(4000, BoneAugmentation(zoom=0.2, shift=0.05, contrast=0.3), torch.Generator().manual_seed(1))
    assert pose.zooms.aminmax() == (pytest.approx(0.8, abs=0.01), pytest.approx(1.2, abs=0.01))
    assert pose.shifts.shape == (4000, 2) and pose.shifts.abs().max() == pytest.approx(0.1, abs=0.01)
    assert pose.gammas.log().aminmax() == (pytest.approx(-0.3, abs=0.01), pytest.approx(0.3, abs=0.01))


def test_zoom_magnifies_shift_moves_and_contrast_bends() -> None:
    disc = (np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 12).astype(np.uint8)
    images, masks = torch.from_numpy(disc * 0.5)[None, None].float(), torch.from_numpy(disc)[None].long()
    still = {"flips": torch.ones(1), "angles": torch.zeros(1)}
    _, larger = apply_pose(images, masks, Pose(**still, zooms=torch.tensor([1.5])))
    assert int(larger.sum()) == pytest.approx(1.5**2 * disc.sum(), rel=0.03)
    moved, labels = apply_pose(images, masks, Pose(**still, shifts=torch.tensor([[8 / 32, -4 / 32]])))
    assert np.array_equal(labels[0].numpy(), np.roll(disc, (4, -8), (0, 1)))
    assert torch.equal(moved[0, 0] > 0.25, labels[0] > 0)
    bent, same = apply_pose(images, masks, Pose(**still, gammas=torch.tensor([2.0])))
    assert bent[0, 0, 32, 32] == pytest.approx(0.25) and torch.equal(same, masks)


@pytest.mark.parametrize("degrees", [-15.0, 7.0])
@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_rotation_equals_scipys(training: BoneSlices, degrees: float, flip: float) -> None:
    images = torch.from_numpy(training.images[1:2])[:, None].float()
    masks = torch.from_numpy(training.masks[1:2]).long()
    turned, labels = apply_pose(images, masks, Pose(torch.tensor([flip]), torch.tensor([np.deg2rad(degrees)]).float()))
    image, mask = (array[1][:, ::-1] if flip < 0 else array[1] for array in (training.images, training.masks))
    # flip(rotate(x)) is rotate by the opposite angle of the flipped slice
    angle = degrees * flip
    expected = ndimage.rotate(image.astype(float), angle, reshape=False, order=1, mode="constant")
    inside = np.s_[6:-6, 6:-6]
    np.testing.assert_allclose(turned[0, 0].numpy()[inside], expected[inside], atol=0.5)
    expected_mask = ndimage.rotate(mask, angle, reshape=False, order=0, mode="constant")
    assert (labels[0].numpy() == expected_mask)[inside].mean() > 0.995


def test_weighted_cross_entropy_equals_the_definition() -> None:
    random = np.random.default_rng(0)
    logits, classes = random.normal(size=(2, 3, 4, 5)), random.integers(0, 3, (2, 4, 5))
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    weights = np.array([0.1, 0.9, 0.9])[classes]
    picked = np.take_along_axis(logs, classes[:, None], 1)[:, 0]
    found = weighted_cross_entropy(torch.from_numpy(logits).float(), torch.from_numpy(classes), 0.9)
    assert float(found) == pytest.approx(-(weights * picked).sum() / weights.sum(), rel=1e-5)


def train(folder: Path, training: BoneSlices, validation: BoneSlices, seed: int = 3, **changes: object) -> dict:
    bone, start = changes.pop("bone", "iliac"), changes.pop("start", None)
    config = TINY.model_copy(update=changes)
    return train_bones(bone, training, validation, config, seed, folder, progress=False, start=start)  # type: ignore[arg-type]


def test_pair_learns_the_bones_and_its_prediction_is_as_good_as_its_validation(
    tmp_path: Path, training: BoneSlices, validation: BoneSlices
) -> None:
    nets, metrics = {}, {}
    for bone in ("sacrum", "iliac"):
        metrics[bone] = train(tmp_path / bone, training, validation, bone=bone, epochs=8)
        nets[bone] = load_weights(build_unet(TINY, 2), tmp_path / bone / "model.pt")
    history = pd.read_parquet(tmp_path / "iliac" / "history.parquet")
    columns = ["epoch", "train_loss", "validation_loss", "validation_dice", "threshold", "learning_rate", "seconds"]
    assert list(history.columns) == columns and len(history) == 8
    best = history.validation_dice.argmax()
    assert metrics["iliac"]["best_epoch"] == best + 1
    assert metrics["iliac"]["validation_dice"] == history.validation_dice.max()
    assert validate(nets["iliac"], "iliac", validation, TINY, "cpu") == {
        "validation_loss": pytest.approx(history.validation_loss[best]),
        "validation_dice": pytest.approx(history.validation_dice[best]),
        "threshold": 0.5,
    }
    tables = []
    for seed in (100, 101):
        name, t1, bones = patient(seed)
        tables.append(dice_by_slice(name, predict_bones(nets, t1, TINY).array, bones.array))
    found = dice_by_patient(pd.concat(tables)).groupby("bone").dice.mean()
    assert found["iliac"] > 0.85 and found["sacrum"] > 0.85
    assert found["iliac"] == pytest.approx(metrics["iliac"]["validation_dice"], abs=0.05)


class Sure(torch.nn.Module):
    """Calls a pixel bone with the probability that its intensity, from 0 to 1, is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x), torch.logit(x, 1e-6)], 1)


def test_threshold_is_the_best_on_the_validation_slices_where_none_is_set() -> None:
    # pixels of every grey level; those from 161/255 = 0.63 on are bone, so that 0.65 errs least
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    masks = np.where(images >= 161, 2, 0).astype(np.uint8)
    data = BoneSlices(images, masks, ["P"], [0])
    errors = {t: abs(np.count_nonzero(images / 255 > t) - 95) for t in bone_training.THRESHOLDS}
    best = min(errors, key=errors.get)  # type: ignore[arg-type]
    found = validate(Sure(), "iliac", data, TINY.model_copy(update={"threshold": None}), "cpu")
    assert found["threshold"] == best == 0.65
    set_by_hand = {t: validate(Sure(), "iliac", data, TINY.model_copy(update={"threshold": t}), "cpu") for t in errors}
    assert found == set_by_hand[best]
    assert found["validation_dice"] == max(row["validation_dice"] for row in set_by_hand.values()) > 0.97


def test_threshold_chosen_in_training_is_the_kept_epochs(
    tmp_path: Path, training: BoneSlices, validation: BoneSlices
) -> None:
    metrics = train(tmp_path, training, validation, threshold=None)
    history = pd.read_parquet(tmp_path / "history.parquet")
    kept = history.iloc[history.validation_dice.argmax()]
    assert metrics["threshold"] == kept.threshold in bone_training.THRESHOLDS
    half = train(tmp_path / "half", training, validation)
    assert metrics["validation_dice"] >= half["validation_dice"] and half["threshold"] == 0.5


def test_one_network_for_both_bones(tmp_path: Path, training: BoneSlices, validation: BoneSlices) -> None:
    metrics = train(tmp_path, training, validation, bone="both", epochs=6)
    net = load_weights(build_unet(TINY, 3), tmp_path / "model.pt")
    found = predict_bones({"both": net}, patient(100)[1], TINY).array
    assert set(np.unique(found)) == {0, 1, 2} and metrics["validation_dice"] > 0.6


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_same_seed_same_bytes_and_an_interrupted_training_ends_in_them_too(
    tmp_path: Path, training: BoneSlices, validation: BoneSlices, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "whole", training, validation, precision=precision)
    torch.randn(3)
    train(tmp_path / "again", training, validation, precision=precision)
    train(tmp_path / "other", training, validation, precision=precision, seed=4)
    calls: Iterator[int] = iter(range(1000))
    draw = bone_training.draw_pose

    def fail_in_the_second_epoch(*arguments: object) -> Pose:
        if next(calls) == 11:
            raise KeyboardInterrupt
        return draw(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(bone_training, "draw_pose", fail_in_the_second_epoch)
        train(tmp_path / "cut", training, validation, precision=precision)
    assert (tmp_path / "cut" / "checkpoint.pt").exists() and not (tmp_path / "cut" / "model.pt").exists()
    train(tmp_path / "cut", training, validation, precision=precision)
    whole, again, cut, other = ((tmp_path / n / "model.pt").read_bytes() for n in ("whole", "again", "cut", "other"))
    assert whole == again == cut != other


def test_leaks_missing_bones_and_wrong_sizes_are_refused(
    tmp_path: Path, training: BoneSlices, validation: BoneSlices
) -> None:
    bare = BoneSlices(validation.images, np.zeros_like(validation.masks), validation.patients, validation.slices)
    cases = [
        (training, training, {}, "patient P0 is in the training and the validation set"),
        (training, bare, {}, "no validation slice shows any iliac bone"),
        (bare, training, {"bone": "sacrum"}, "no training slice shows any sacrum bone"),
        (training, validation, {"size": 96}, "bones.size is 96"),
        (bone_slices([], 64), validation, {}, "no training slice shows any iliac bone .0 slices"),
    ]
    for first, second, changes, words in cases:
        with pytest.raises(DataError, match=words):
            train(tmp_path, first, second, **changes)


def test_a_diverging_training_names_the_slices(tmp_path: Path, training: BoneSlices, validation: BoneSlices) -> None:
    with pytest.raises(DataError, match=r"loss is \w+ in round 1, step \d+, batch P\d slice \d, P\d"):
        train(tmp_path, training, validation, learning_rate=1e30, schedule="constant")


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from tests.bones.test_training import TINY, bone_slices, patient, train_bones
training = bone_slices((patient(seed) for seed in range(8)), TINY.size)
validation = bone_slices((patient(seed) for seed in (100, 101)), TINY.size)
config = TINY.model_copy(update=dict(epochs=12))
train_bones("iliac", training, validation, config, 3, Path(sys.argv[1]), progress=False)
"""


@pytest.mark.slow
def test_a_killed_process_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(KILLED.format(tests=str(Path(__file__).parents[2])))

    def start(folder: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, str(script), str(tmp_path / folder)], env=environment)

    assert start("whole").wait(300) == 0
    for _ in range(2):  # killed twice, after one more checkpoint each time
        checkpoint = tmp_path / "cut" / "checkpoint.pt"
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = start("cut")
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL, "the training ended before it could be killed"
        assert not (tmp_path / "cut" / "model.pt").exists()
    assert start("cut").wait(300) == 0
    assert (tmp_path / "whole" / "model.pt").read_bytes() == (tmp_path / "cut" / "model.pt").read_bytes()
    assert not (tmp_path / "cut" / "checkpoint.pt").exists()
