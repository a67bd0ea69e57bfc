"""Variants of the bone networks: rows of the table, and what each learns from, is tested on and leaves behind."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from axspa_lib.bones import variants as bone_variants
from axspa_lib.bones.stage import train_bone_network
from axspa_lib.bones.unet import build_unet
from axspa_lib.bones.variants import BoneVariant, bone_variant
from axspa_lib.bones.variants_stage import run_bone_variant
from axspa_lib.curation.curate import curate
from axspa_lib.curation.source import Examination
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import BoneNets, Study, load_study, profiles
from axspa_lib.study.errors import ConfigError, DataError, MissingResultError
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import read_run, write_json
from axspa_lib.study.volume import write_volume
from tests.bones.test_training import TINY, patient, train, training, validation  # noqa: F401


class Made:
    """Examinations with bones and without STIR, each of another person."""

    name = "made"

    def __init__(self, seeds: range) -> None:
        self.seeds = {f"P{seed}": seed for seed in seeds}

    def patients(self) -> list[str]:
        return list(self.seeds)

    def load(self, name: str) -> Examination:
        _, t1, bones = patient(self.seeds[name])
        return Examination(name, name, "", "c", t1, None, {}, [], bones, {})

    def readings(self) -> None:
        return None

    def opinions(self) -> None:
        return None


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Nine annotated patients in three folds, and four of a phantom; networks of a few seconds."""
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    tiny = TINY.model_copy(update={"epochs": 1})
    made = load_study("smoke", folds=3).model_copy(update={"bones": tiny, "cohorts": ("vhi",)})
    layout = Layout.of(made)
    for cohort, seeds, folds in (("vhi", range(9), 3), ("phantom-desir", range(50, 54), 1)):
        curate(Made(seeds), layout.cohort(cohort), seed=1, bones_split=(5, 2, 2), detection_split=None, folds=folds)
    return made


def test_every_row_is_valid_and_every_profile_names_rows() -> None:
    known = bone_variants.bone_variants()
    assert {"single", "phantom_only", "pair_anew"} <= set(known)
    for name in profiles():
        study = load_study(name)
        assert set(study.bone_variants) <= set(known)
        assert not study.bones.start or study.bones.start in known


def test_a_row_that_is_wrong_names_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bone_variants, "MANIFEST", tmp_path)
    for row, words in (
        ("{label: x, patients: -1}", "odd: patients"),
        ("{label: x, patient: 1}", "odd: patient"),
        ("{patients: 1}", "odd: label"),
        ("{label: x, start: nowhere}", "odd: start: no row 'nowhere'"),
    ):
        (tmp_path / "bone_variants.yaml").write_text(f"odd: {row}\n")
        with pytest.raises(ConfigError, match=words):
            bone_variants.bone_variants()
    with pytest.raises(ConfigError, match="no bone variant 'none': choose one of"):
        monkeypatch.undo()
        bone_variant("none")


def test_fewer_patients_are_among_more_and_see_as_many_slices() -> None:
    names = [f"P{number}" for number in range(12)]
    rows = {n: BoneVariant(name="few", label="", patients=n) for n in (2, 4, 8, 0)}
    chosen = {n: row.chosen(names, seed=3) for n, row in rows.items()}
    assert [len(chosen[n]) for n in rows] == [2, 4, 8, 12]
    assert set(chosen[2]) < set(chosen[4]) < set(chosen[8]) < set(chosen[0])
    assert chosen[4] != rows[4].chosen(names, seed=4)
    assert rows[2].settings(BoneNets(epochs=10), slices=30, usual=180).epochs == 60
    with pytest.raises(ConfigError, match="few: wants 8 annotated patients, the training set has 5"):
        rows[8].chosen(names[:5], seed=3)


def test_start_is_the_studys_unless_the_row_says_otherwise() -> None:
    bones = BoneNets(start="phantom_only")
    assert BoneVariant(name="a", label="").starts_from(bones) == "phantom_only"
    assert BoneVariant(name="a", label="", start="").starts_from(bones) == ""
    assert BoneVariant(name="a", label="", start="other").starts_from(BoneNets()) == "other"


def test_held_out_folds_cover_every_annotated_patient_once(study: Study) -> None:
    tested: list[str] = []
    for fold in range(3):
        record = run_bone_variant(study, "single", fold, progress=False)
        folder = Layout.of(study).bone_variant("single", fold)
        assert folder.parts[-2:] == ("single", f"fold-{fold}") and (folder / "both" / "model.pt").is_file()
        table = pd.read_csv(folder / "dice.csv")
        sets = [set(record["patients"][name]) for name in ("train", "validation", "test")]
        assert set(table["patient"]) == sets[2] and sum(map(len, sets)) == len(set.union(*sets)) == 9
        tested += sorted(sets[2])
        assert record["metrics"]["dice"]["iliac"] == pytest.approx(
            table[table.bone == "iliac"].groupby("patient")[["tp", "fp", "fn"]].sum()
            .eval("2 * tp / (2 * tp + fp + fn)").mean()
        )  # fmt: skip
    assert sorted(tested) == [f"P{seed}" for seed in range(9)]


def test_the_phantom_is_learnt_from_and_every_real_patient_tested(study: Study) -> None:
    record = run_bone_variant(study, "phantom_only", 2, progress=False)
    assert {*record["patients"]["train"], *record["patients"]["validation"]} == {f"P{seed}" for seed in range(50, 54)}
    assert record["patients"]["test"] == [f"P{seed}" for seed in range(9)]
    folder = Layout.of(study).bone_variant("phantom_only")
    assert (folder / "sacrum" / "model.pt").is_file() and read_run(folder)["config"]["fold"] is None


def test_the_study_goes_on_from_a_finished_row_only(study: Study) -> None:
    start = study.bones.model_copy(update={"start": "phantom_only", "learning_rate": 1e-12, "norm_momentum": 0.0})
    goes_on = study.model_copy(update={"bones": start})
    with pytest.raises(MissingResultError, match="phantom_only"):
        train_bone_network(goes_on, "iliac", fold=0, progress=False)
    run_bone_variant(goes_on, "phantom_only", progress=False)
    train_bone_network(goes_on, "iliac", fold=0, progress=False)
    layout = Layout.of(study)
    files = layout.bone_variant("phantom_only") / "iliac", layout.bones("iliac", 1, 0)
    first, second = (torch.load(folder / "model.pt", weights_only=True) for folder in files)
    weights = [name for name in first if name.endswith("weight")]
    assert weights and all(torch.allclose(first[name], second[name], atol=1e-6) for name in weights)
    few = run_bone_variant(goes_on, "patients_2", 0, progress=False)
    assert len(few["patients"]["train"]) == 2


def test_the_grown_set_adds_whom_the_criterion_accepted_and_nobody_held_out(study: Study) -> None:
    layout, bones = Layout.of(study), patient(70)[2]
    splits = pd.read_csv(layout.cohort("vhi") / "splits.csv")
    left_out = splits.index[splits["fold"] != 0][:2]  # as if nobody had annotated two outside the fold, and one inside
    inside = splits.index[splits["fold"] == 0][0]
    splits.loc[[*left_out, inside], "bones"] = ""
    splits.to_csv(layout.cohort("vhi") / "splits.csv", index=False)
    joining, refused = splits.loc[left_out, "patient"]
    folder = layout.segmentation("vhi", 1, 0)
    for name in splits["patient"]:
        write_volume(folder / f"{name}_desc-bones_dseg.nii.gz", bones)
    grown = splits[["patient"]].assign(
        source="predicted", half_slices=2, missed=0, accepted=splits["patient"] != refused
    )
    grown.to_csv(folder / "increment.csv", index=False)
    write_json(folder / "run.json", {})
    record = run_bone_variant(study, "grown", 0, progress=False)
    added = set(record["patients"]["train"]) - set(Cohort(layout.cohort("vhi")).subset("bones", "train", 0))
    assert added == {joining}


def test_weights_of_another_network_cannot_be_continued(tmp_path: Path, training, validation) -> None:  # noqa: F811
    torch.save(build_unet(TINY, 3).state_dict(), tmp_path / "both.pt")
    with pytest.raises(DataError, match=r"both\.pt: weights of another network"):
        train(tmp_path, training, validation, start=tmp_path / "both.pt")


def test_what_is_learnt_depends_on_the_start(tmp_path: Path, training, validation) -> None:  # noqa: F811
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save(build_unet(TINY, 2).state_dict(), tmp_path / f"{seed}.pt")
        train(tmp_path / str(seed), training, validation, epochs=1, start=tmp_path / f"{seed}.pt")
        states.append(torch.load(tmp_path / str(seed) / "model.pt", weights_only=True))
    assert not all(torch.equal(value, states[1][name]) for name, value in states[0].items())
