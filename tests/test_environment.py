"""The lock file, pyproject.toml and environment.yml agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from axspa_lib.study.config import load_study

ROOT = Path(__file__).parents[1]
#: Names that conda-forge spells differently.
CONDA = {"pytorch": "torch", "opencv": "opencv-python-headless", "snakemake-minimal": "snakemake"}


def locked() -> dict[str, list[str]]:
    versions: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        versions.setdefault(canonicalize_name(requirement.name), []).append(specifier.version)
    return versions


def project() -> list[Requirement]:
    """Dependencies that the lock file holds: all but the extra `cpu`, which changes how a detector predicts."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for name, lines in table["optional-dependencies"].items() if name != "cpu" for line in lines]
    return [Requirement(line) for line in table["dependencies"] + extras]


def conda() -> dict[str, SpecifierSet]:
    found = {}
    for line in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]:
        name, _, rest = line.split("::")[-1].partition(" ")
        found[CONDA.get(name, name)] = SpecifierSet(re.sub(r"^=(?!=)", "==", rest.strip()))
    return found


def test_every_dependency_is_locked_within_its_range():
    versions = locked()
    for requirement in project():
        for version in versions[canonicalize_name(requirement.name)]:
            assert requirement.specifier.contains(version), f"{requirement} excludes {version}"


def test_the_conda_ranges_contain_the_locked_versions():
    versions, ranges = locked(), conda()
    for name, specifier in ranges.items():
        for version in versions.get(canonicalize_name(name), []):
            assert specifier.contains(version), f"environment.yml: {name} {specifier} excludes {version}"
    assert "detectron2" in ranges and ranges["torch"].contains("2.6.0")


def test_the_conda_environment_holds_every_run_time_dependency():
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {canonicalize_name(Requirement(line).name) for line in table["dependencies"]}
    assert wanted <= {canonicalize_name(name) for name in conda()}


def test_no_registry_address_is_written_down():
    text = (ROOT / "requirements.lock").read_text() + (ROOT / "environment.yml").read_text()
    assert "index-url" not in text and "://" not in text


def test_the_gpu_runner_installs_detectron2_and_runs_its_profile():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "gpu.yml").read_text())
    inputs, (job,) = workflow[True]["workflow_dispatch"]["inputs"], workflow["jobs"].values()
    environments = [step["with"].get("environment-file") for step in job["steps"] if "with" in step]
    assert inputs["profile"]["default"] == "detectron2" and "environment.yml" in environments
    assert load_study("detectron2").detector.implementation == "detectron2"
