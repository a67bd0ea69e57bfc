"""The training machinery on a model small enough to reason about: resume, best round, failures, determinism."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from axspa_lib.networks.training_loop import (
    TrainingPlan,
    best_round,
    deterministic,
    fit,
    save,
    seed_everything,
    warmup_cosine,
)
from axspa_lib.study.errors import DataError

STEPS, ROUNDS = 3, 4


class Interrupted(Exception):
    pass


def start() -> tuple[nn.Module, torch.optim.Optimizer]:
    seed_everything(7)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    return model, torch.optim.RMSprop(model.parameters(), 1e-2, momentum=0.9)


def plan(model: nn.Module, fail_in: int | None = None, score: Callable[[], float] | None = None) -> TrainingPlan:
    def batches(round_number: int) -> Iterator[tuple[str, torch.Tensor]]:
        for step in range(STEPS):
            if round_number == fail_in and step == 1:
                raise Interrupted
            yield f"slices {step}", torch.randn(5, 4)

    def validate() -> dict[str, float]:
        with torch.no_grad():
            loss = float(model(torch.ones(2, 4)).square().mean())
        return {"validation_loss": loss if score is None else score()}

    return TrainingPlan(
        rounds=ROUNDS,
        steps=STEPS,
        batches=batches,
        loss=lambda x: (model(x).squeeze(1) - x.sum(1)).square().mean(),
        validate=validate,
        monitor="validation_loss",
        schedule=warmup_cosine(ROUNDS * STEPS, warmup=2),
    )


def run(folder: Path, fail_in: int | None = None, seed: int = 1, **changes: object) -> pd.DataFrame:
    model, optimizer = start()
    what = replace(plan(model, fail_in), **changes)
    return fit(model, optimizer, what, folder=folder, seed=seed, identity=f"test {seed}", progress=False)


def test_writes_the_best_model_and_the_history_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    history = run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.parquet", "model.pt"]
    assert list(history["round"]) == [1, 2, 3, 4]
    pd.testing.assert_frame_equal(history, pd.read_parquet(tmp_path / "history.parquet"))
    model, _ = start()
    model.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    model.eval()
    assert plan(model).validate()["validation_loss"] == history["validation_loss"].min()


def test_same_seed_same_bytes_other_seed_other_weights(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tmp_path / name, seed=seed)
    a, b, c = ((tmp_path / name / "model.pt").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("fail_in", [0, 1, 3])
def test_interrupted_training_resumes_to_the_same_weights(tmp_path: Path, fail_in: int) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", fail_in=fail_in)
    assert (tmp_path / "cut" / "checkpoint.pt").exists() == (fail_in > 0)
    torch.randn(17)  # whatever else was drawn in between does not matter
    resumed = run(tmp_path / "cut")
    assert (tmp_path / "whole" / "model.pt").read_bytes() == (tmp_path / "cut" / "model.pt").read_bytes()
    pd.testing.assert_frame_equal(whole.drop(columns="seconds"), resumed.drop(columns="seconds"))


def test_finished_rounds_are_not_run_again(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path, fail_in=3)
    seen: list[int] = []
    model, optimizer = start()
    base = plan(model)

    def batches(round_number: int) -> Iterator[tuple[str, torch.Tensor]]:
        seen.append(round_number)
        yield from base.batches(round_number)

    fit(model, optimizer, replace(base, batches=batches), folder=tmp_path, seed=1, identity="test 1", progress=False)
    assert seen == [3]


def test_checkpoint_of_another_training_is_said_and_not_continued(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path / "whole", seed=2)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", fail_in=2, seed=1)
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "cut", seed=2)
    assert "another configuration" in caplog.text
    assert (tmp_path / "whole" / "model.pt").read_bytes() == (tmp_path / "cut" / "model.pt").read_bytes()


def test_broken_checkpoint_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(DataError, match=r"checkpoint\.pt: cannot be read .* delete it"):
        run(tmp_path)


def test_loss_that_is_not_finite_names_the_batch_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    calls = iter(range(100))
    with pytest.raises(DataError, match="loss is nan in round 2, step 2, batch slices 1"):
        run(
            tmp_path,
            loss=lambda x: x.sum() * (float("nan") if next(calls) == 4 else 0) + torch.zeros((), requires_grad=True),
        )
    assert (tmp_path / "checkpoint.pt").exists()
    assert not (tmp_path / "model.pt").exists()


@pytest.mark.parametrize(("mode", "best"), [("min", 1), ("max", 0)])
def test_first_best_round_is_kept(tmp_path: Path, mode: str, best: int) -> None:
    scores = iter([3.0, 1.0, float("nan"), 1.0])
    states: list[dict[str, torch.Tensor]] = []
    model, optimizer = start()

    def score() -> float:
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(scores)

    what = replace(plan(model, score=score), mode=mode)
    fit(model, optimizer, what, folder=tmp_path, seed=1, identity="best", progress=False)
    kept = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(torch.equal(kept[name], value) for name, value in states[best].items())


def test_no_finite_figure_at_all_is_an_error(tmp_path: Path) -> None:
    model, optimizer = start()
    what = plan(model, score=lambda: float("nan"))
    with pytest.raises(DataError, match="validation_loss was not finite in any round"):
        fit(model, optimizer, what, folder=tmp_path, seed=1, identity="nan", progress=False)
    assert best_round([], "validation_loss", "min") is None


def test_named_losses_are_summed(tmp_path: Path) -> None:
    model, optimizer = start()
    whole = plan(model)

    def halves(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        loss = whole.loss(batch)
        assert isinstance(loss, torch.Tensor)
        return {"box": 0.5 * loss, "mask": 0.5 * loss}

    named = fit(
        model, optimizer, replace(whole, loss=halves), folder=tmp_path, seed=1, identity="halves", progress=False
    )
    single = run(tmp_path / "whole")
    pd.testing.assert_frame_equal(named.drop(columns="seconds"), single.drop(columns="seconds"))


def test_learning_rate_follows_the_schedule_and_gradients_are_clipped(tmp_path: Path) -> None:
    history = run(tmp_path, clip=1e-12)
    factor = warmup_cosine(ROUNDS * STEPS, warmup=2)
    assert list(history["learning_rate"]) == [1e-2 * factor(STEPS * (i + 1) - 1) for i in range(ROUNDS)]
    assert factor(0) == 0.5 and factor(2) == 1.0 and factor(ROUNDS * STEPS - 1) < 0.1


def test_callers_random_numbers_are_left_alone(tmp_path: Path) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    random.seed(5), np.random.seed(5), torch.manual_seed(5)  # noqa: NPY002
    expected = draw()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)  # noqa: NPY002
    with deterministic(99):
        draw()
    assert draw() == expected


def test_equal_values_give_equal_bytes_whatever_the_file_is_called(tmp_path: Path) -> None:
    value = {"weight": torch.arange(6.0)}
    save(tmp_path / "a.pt", value)
    save(tmp_path / "deeper" / "other.pt", value)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "deeper" / "other.pt").read_bytes()


def test_bar_shows_loss_and_time_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, optimizer = start()
    fit(model, optimizer, plan(model), folder=tmp_path, seed=1, identity="bar", label="U-Net iliac")
    shown = capsys.readouterr().err
    assert (
        "U-Net iliac" in shown and "loss=" in shown and f"{ROUNDS * STEPS}/{ROUNDS * STEPS}" in shown and "<" in shown
    )
