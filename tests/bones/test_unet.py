"""Bone networks: names of the published weights, geometry, and prediction against networks whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from axspa_lib.bones.dice import dice_by_slice
from axspa_lib.bones.slices import Frame
from axspa_lib.bones.unet import build_unet, decision, load_weights, network_input, predict_bones
from axspa_lib.study.config import BoneNets
from axspa_lib.study.errors import ConfigError, DataError
from axspa_lib.study.volume import Volume

CLASSICAL = BoneNets(size=64)
TINY = BoneNets(architecture="smp", encoder="tu-test_resnet", decoder_channels=(24, 16, 8), size=64)


def volume(array: np.ndarray, spacing: tuple[float, float, float] = (4.0, 1.0, 1.0)) -> Volume:
    return Volume(array, np.diag([*spacing, 1.0]))


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights released with the authors' demo, written down from its network's definition."""
    blocks = {
        "inc": (1, 64),
        "down1.maxpool_conv.1": (64, 128),
        "down2.maxpool_conv.1": (128, 256),
        "down3.maxpool_conv.1": (256, 512),
        "down4.maxpool_conv.1": (512, 512),
        "up1.conv": (1024, 256),
        "up2.conv": (512, 128),
        "up3.conv": (256, 64),
        "up4.conv": (128, 64),
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for block, (inputs, outputs) in blocks.items():
        for conv, channels in (("0", inputs), ("3", outputs)):
            shapes[f"{block}.double_conv.{conv}.weight"] = (outputs, channels, 3, 3)
            shapes[f"{block}.double_conv.{conv}.bias"] = (outputs,)
        for norm in ("1", "4"):
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{block}.double_conv.{norm}.{part}"] = (outputs,)
            shapes[f"{block}.double_conv.{norm}.num_batches_tracked"] = ()
    return shapes | {"outc.conv.weight": (2, 64, 1, 1), "outc.conv.bias": (2,)}


def published_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights of the published names and shapes."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in published_shapes().items():
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(100)
        elif name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            weights[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            weights[name] = torch.randn(shape, generator=generator) * (2 / max(1, np.prod(shape[1:]))) ** 0.5
    return weights


def reference_forward(weights: dict[str, torch.Tensor], x: torch.Tensor, batch_statistics: bool) -> torch.Tensor:
    """The demo's network written as plain function calls on its weights."""

    def block(x: torch.Tensor, name: str) -> torch.Tensor:
        for conv, norm in (("0", "1"), ("3", "4")):
            c, n = f"{name}.double_conv.{conv}", f"{name}.double_conv.{norm}"
            x = F.conv2d(x, weights[f"{c}.weight"], weights[f"{c}.bias"], padding=1)
            mean, var = weights[f"{n}.running_mean"], weights[f"{n}.running_var"]
            if batch_statistics:
                mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            x = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + 1e-5)
            x = F.relu(x * weights[f"{n}.weight"][:, None, None] + weights[f"{n}.bias"][:, None, None])
        return x

    skips = [block(x, "inc")]
    for level in (1, 2, 3, 4):
        skips.append(block(F.max_pool2d(skips[-1], 2), f"down{level}.maxpool_conv.1"))
    x = skips.pop()
    for level in (1, 2, 3, 4):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        x = block(torch.cat([skips.pop(), x], 1), f"up{level}.conv")
    return F.conv2d(x, weights["outc.conv.weight"], weights["outc.conv.bias"])


def test_classical_network_has_the_published_names_and_shapes() -> None:
    state = build_unet(CLASSICAL, 2).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == published_shapes()


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_published_weights_run_as_they_are_both_ways(tmp_path: Path, batch_statistics: bool) -> None:
    nets, scores = {}, [torch.zeros(3, 64, 64)]
    config = CLASSICAL.model_copy(update={"batch_statistics": batch_statistics})
    t1 = volume(np.random.default_rng(0).integers(0, 256, (3, 64, 64)).astype(np.uint8))
    images = network_input(torch.from_numpy(t1.array))
    for seed, bone in enumerate(("sacrum", "iliac")):
        weights = published_weights(seed)
        logits = torch.cat([reference_forward(weights, image[None], batch_statistics) for image in images])
        weights["outc.conv.bias"][1] -= (logits[:, 1] - logits[:, 0]).median()  # half of the pixels are bone
        torch.save(weights, tmp_path / f"weights_{bone}.pt")
        nets[bone] = load_weights(build_unet(config, 2), tmp_path / f"weights_{bone}.pt")
        logits = torch.cat([reference_forward(weights, image[None], batch_statistics) for image in images])
        scores.append(logits[:, 1] - logits[:, 0])
    before = {name: value.clone() for name, value in nets["iliac"].state_dict().items()}
    found = predict_bones(nets, t1, config).array
    clear = torch.stack(scores, 1).topk(2, 1).values.diff(dim=1).abs()[:, 0] > 1e-3
    expected = torch.stack(scores, 1).argmax(1)
    assert clear.float().mean() > 0.98 and set(np.unique(found)) == {0, 1, 2}
    assert (torch.from_numpy(found)[clear] == expected[clear]).all()
    after = nets["iliac"].state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(module.training for module in nets["iliac"].modules())


@pytest.mark.parametrize("config", [CLASSICAL, TINY, TINY.model_copy(update={"encoder": "resnet18"})])
@pytest.mark.parametrize("classes", [2, 3])
def test_one_channel_in_one_score_per_class_out(config: BoneNets, classes: int) -> None:
    model = build_unet(config.model_copy(update={"norm_momentum": 0.25}), classes).eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, 1, 64, 64)).shape == (2, classes, 64, 64)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and all(module.momentum == 0.25 for module in norms)


@pytest.mark.parametrize("encoder", ["resnet19", "tu-nothing"])
def test_unknown_encoder_names_the_parameter(encoder: str) -> None:
    with pytest.raises(ConfigError, match=f"bones.encoder.*{encoder}"):
        build_unet(TINY.model_copy(update={"encoder": encoder}), 2)


def test_weights_that_cannot_be_used_are_refused_in_one_sentence(tmp_path: Path) -> None:
    classical, tiny = build_unet(CLASSICAL, 2), build_unet(TINY, 2)
    three = build_unet(CLASSICAL, 3)
    torch.save(tiny.state_dict(), tmp_path / "tiny.pt")
    torch.save(classical.state_dict(), tmp_path / "classical.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("not weights")
    cases = [
        (classical, "absent.pt", "no such weights"),
        (classical, "text.pt", "cannot be read as torch weights"),
        (classical, "list.pt", "no plain state dict"),
        (classical, "tiny.pt", r"another network.*inc\.double_conv.*bones\.architecture"),
        (tiny, "classical.pt", "another network"),
        (three, "classical.pt", r"first difference outc\.conv\.weight; 0 missing, 0 unknown, 2 of another shape"),
    ]
    for model, name, words in cases:
        with pytest.raises(DataError, match=words) as refusal:
            load_weights(model, tmp_path / name)
        assert name in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_disc_in_millimetres_is_a_disc_for_the_network() -> None:
    rows, columns, row_mm, column_mm = 120, 100, 0.8, 1.6
    y, x = np.mgrid[:rows, :columns].astype(float)
    disc = (((y - 59.5) * row_mm) ** 2 + ((x - 49.5) * column_mm) ** 2 < 40**2).astype(np.uint8)
    frame = Frame.of(volume(disc[None], (4.0, row_mm, column_mm)), 128)
    seen = np.argwhere(frame.put(disc[None], labels=True)[0])
    height, width = np.ptp(seen, axis=0) + 1
    assert abs(height - width) <= 2
    assert abs(height - 80 / (columns * column_mm) * 128) <= 2
    assert frame.put(np.full_like(disc, 255)[None])[0].any(axis=1).sum() == round(128 * rows * row_mm / 160)


def test_square_slices_of_the_networks_size_pass_unchanged() -> None:
    image = np.random.default_rng(1).integers(0, 256, (2, 64, 64)).astype(np.uint8)
    frame = Frame.of(volume(image), 64)
    np.testing.assert_array_equal(frame.put(image), image)
    scores = torch.rand(2, 3, 64, 64)
    assert frame.restore(scores) is not None and torch.equal(frame.restore(scores), scores)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(70, 300), columns=st.integers(70, 300), row_mm=st.floats(0.4, 1.5), column_mm=st.floats(0.4, 1.5)
)
def test_onto_the_networks_grid_and_back_keeps_the_bones(
    rows: int, columns: int, row_mm: float, column_mm: float
) -> None:
    sides_mm = sorted((rows * row_mm, columns * column_mm))
    assume(sides_mm[1] < 2 * sides_mm[0])  # a strip leaves bones few pixels wide
    y, x = np.mgrid[:rows, :columns]
    mask = np.zeros((1, rows, columns), np.uint8)
    mask[0, (abs(y / rows - 0.5) < 0.3) & (abs(x / columns - 0.3) < 0.15)] = 2
    mask[0, (abs(y / rows - 0.4) < 0.2) & (abs(x / columns - 0.65) < 0.15)] = 1
    frame = Frame.of(volume(mask, (4.0, row_mm, column_mm)), 160)
    one_hot = F.one_hot(torch.from_numpy(frame.put(mask, labels=True)).long(), 3).movedim(-1, 1).float()
    back = frame.restore(one_hot).argmax(1).numpy().astype(np.uint8)
    assert back.shape == mask.shape
    assert dice_by_slice("P", back, mask).dice.min() > 0.93


def test_network_input_spans_zero_to_one_and_a_constant_slice_is_zero() -> None:
    slices = torch.tensor([[[10, 20], [30, 60]], [[7, 7], [7, 7]]], dtype=torch.uint8)
    images = network_input(slices)
    assert images.shape == (2, 1, 2, 2)
    torch.testing.assert_close(images[0, 0], torch.tensor([[0.0, 0.2], [0.4, 1.0]]))
    assert not images[1].any()


class Brighter(nn.Module):
    """Claims what is brighter than `level`, the surer the larger `gain`; more classes for higher levels."""

    def __init__(self, *levels: float, gain: float = 1.0) -> None:
        super().__init__()
        self.levels, self.gain, self.batches = levels, gain, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.batches += 1
        return self.gain * torch.cat([torch.zeros_like(x), *(x - level for level in self.levels)], 1)


def ramp() -> Volume:
    """Ten levels from 0 to 255 in blocks of 8 columns, three slices."""
    return volume(np.repeat(np.linspace(0, 255, 10).astype(np.uint8), 8)[None, None].repeat(3, 0).repeat(80, 1))


RAMP = BoneNets(size=64)


def test_each_network_claims_its_bone_and_the_surer_one_wins_where_both_do() -> None:
    nets = {"sacrum": Brighter(0.5), "iliac": Brighter(0.7, gain=5.0)}
    found = predict_bones(nets, ramp(), RAMP, batch=2)
    assert found.array.dtype == np.uint8 and found.array.shape == (3, 80, 80)
    blocks = found.array[:, 4:-4, 4::8]
    # 5 (x - 0.7) > x - 0.5 from x = 0.75 on
    np.testing.assert_array_equal(blocks[0, 0], [0, 0, 0, 0, 0, 1, 1, 2, 2, 2])
    assert (blocks == blocks[:1, :1]).all()
    assert nets["sacrum"].batches == 2


def test_one_network_for_both_takes_its_arg_max() -> None:
    class Both(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([torch.full_like(x, 0.3), x, 2 * x - 0.75], 1)

    found = predict_bones({"both": Both()}, ramp(), RAMP)
    np.testing.assert_array_equal(found.array[0, 40, 4::8], [0, 0, 0, 1, 1, 1, 1, 2, 2, 2])


def test_batch_statistics_take_one_slice_at_a_time() -> None:
    nets = {"sacrum": Brighter(0.5), "iliac": Brighter(0.5)}
    predict_bones(nets, ramp(), RAMP)
    assert nets["sacrum"].batches == 1
    config = RAMP.model_copy(update={"batch_statistics": True})
    single: list[int] = []
    net = Brighter(0.5)
    net.register_forward_hook(lambda module, inputs, output: single.append(len(inputs[0])))
    predict_bones({"sacrum": net, "iliac": Brighter(0.5)}, ramp(), config)
    assert single == [1, 1, 1]


@pytest.mark.parametrize(
    ("t1", "words"), [(np.zeros((1, 8, 8), np.float32), "float32"), (np.zeros((8, 8), np.uint8), r"shape \(8, 8\)")]
)
def test_what_is_not_a_preprocessed_volume_is_refused(t1: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        predict_bones({"both": Brighter(0.5, 0.7)}, Volume(t1, np.eye(4)), RAMP)


def test_networks_that_make_no_segmentation_are_refused() -> None:
    with pytest.raises(ConfigError, match="given: iliac"):
        predict_bones({"iliac": Brighter(0.5)}, ramp(), RAMP)


@pytest.mark.parametrize("classes", [2, 3])
def test_threshold_moves_the_probability_from_which_a_pixel_is_bone(classes: int) -> None:
    logits = torch.randn(2, classes, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(decision(logits, 0.5), logits)
    chosen = decision(logits, 0.9).argmax(1)
    best, bone = logits[:, 1:].max(1)
    sure = torch.sigmoid(best - logits[:, 0]) > 0.9
    assert torch.equal(chosen, torch.where(sure, bone + 1, 0))
    assert 0 < sure.float().mean() < 0.5


def test_mirrored_prediction_of_a_mirrored_volume_is_the_mirrored_prediction() -> None:
    config = TINY.model_copy(update={"mirrored": True})
    torch.manual_seed(3)
    nets = {"both": build_unet(config, 3)}
    array = np.random.default_rng(0).integers(0, 256, (3, 64, 64)).astype(np.uint8)
    found, mirrored = (predict_bones(nets, volume(a), config).array for a in (array, array[..., ::-1].copy()))
    assert set(np.unique(found)) != {0} and (found == mirrored[..., ::-1]).mean() > 0.999
    plain = predict_bones(nets, volume(array), TINY).array
    assert (plain != predict_bones(nets, volume(array[..., ::-1].copy()), TINY).array[..., ::-1]).mean() > 0.01


def test_raised_threshold_shrinks_the_prediction() -> None:
    net = Brighter(0.5, gain=4.0)
    claimed = [
        predict_bones({"sacrum": net, "iliac": Brighter(2.0)}, ramp(), RAMP.model_copy(update={"threshold": value}))
        for value in (0.5, 0.7)
    ]
    np.testing.assert_array_equal(claimed[0].array[0, 40, 4::8], [0] * 5 + [1] * 5)
    np.testing.assert_array_equal(claimed[1].array[0, 40, 4::8], [0] * 7 + [1] * 3)


def test_every_network_has_its_own_threshold() -> None:
    nets = {"sacrum": Brighter(0.5, gain=4.0), "iliac": Brighter(2.0)}
    unset = RAMP.model_copy(update={"threshold": None})
    found = predict_bones(nets, ramp(), unset, thresholds={"sacrum": 0.7, "iliac": 0.2})
    np.testing.assert_array_equal(found.array[0, 40, 4::8], [0] * 6 + [2] + [1] * 3)
    with pytest.raises(ConfigError, match=r"bones.threshold: none is configured, so every network's own must be given"):
        predict_bones(nets, ramp(), unset, thresholds={"sacrum": 0.7})
