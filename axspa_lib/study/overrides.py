"""Layers of nested values over one another, from YAML in which no key stands twice."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from axspa_lib.study.errors import ConfigError

MANIFEST = Path(__file__).resolve().parents[2] / "data_manifest"


def merged(profile: Mapping[str, Any], experiment: str, overrides: str = "") -> dict[str, Any]:
    """Merge a profile's values, an experiment on top of its parents, and YAML overrides (nested or dotted).

    Raises:
        ConfigError: unknown experiment, or overrides that are no YAML mapping.
    """
    values: dict[str, Any] = {}
    for layer in (profile, *_lineage(experiment)):
        merge(values, layer)
    for name, value in _of_text(overrides).items():
        merge(values, nest(name.split("."), value))
    return values


def profiles() -> dict[str, dict[str, Any]]:
    """Return all profiles by name: the repository's, and a lab's own in `data_manifest/profiles.local.yaml`."""
    local = MANIFEST / "profiles.local.yaml"
    return _yaml("profiles.yaml") | (_yaml(local.name) if local.exists() else {})


def experiments() -> dict[str, dict[str, Any]]:
    """Return all experiments by name, in the order of Table 4: `label`, `parent`, `overrides`."""
    return _yaml("experiments.yaml")


def merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Merge nested `layer` over `into`, in place."""
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key may stand once: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node."""
        own = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = next((key for place, key in enumerate(own) if key in own[:place]), None)
        if twice is not None:
            raise ConfigError(f"key {twice!r} stands twice in the block from line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """Plain YAML; a key that stands twice in one block is refused.

    Raises:
        ConfigError: names the key and where its block begins.

    >>> parse_yaml("{a: 1, b: {c: 2}}")
    {'a': 1, 'b': {'c': 2}}
    """
    return deepcopy(_parsed(text))


@cache
def _parsed(text: str) -> Any:
    return yaml.load(text, Loader=_UniqueKeys)


def nest(keys: list[str], value: Any) -> dict[str, Any]:
    """Return a value under nested keys.

    >>> nest(["detector", "iterations"], 100)
    {'detector': {'iterations': 100}}
    """
    return {keys[0]: nest(keys[1:], value) if len(keys) > 1 else value}


def _yaml(name: str) -> dict[str, dict[str, Any]]:
    try:
        return parse_yaml((MANIFEST / name).read_text(encoding="utf-8"))
    except ConfigError as error:
        raise ConfigError(f"data_manifest/{name}: {error}: keep one") from None


def _of_text(overrides: str) -> dict[str, Any]:
    try:
        values = parse_yaml(overrides) or {}
    except yaml.YAMLError as error:
        raise ConfigError(
            f"parameter overrides: is not YAML ({error}): write 'detector: {{iterations: 100}}'"
        ) from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(
            f"parameter overrides: write names and values, 'detector: {{iterations: 100}}': {overrides!r}"
        )
    for name in ("profile", "experiment"):
        if name in values:
            raise ConfigError(f"parameter overrides: {name} is no override: set the notebook's parameter {name!r}")
    return values


def _lineage(name: str | None) -> list[dict[str, Any]]:
    layers: list[dict[str, Any]] = []
    known = experiments()
    while name:
        if name not in known:
            raise ConfigError(f"unknown experiment {name!r}: choose one of {', '.join(known)}")
        layers.insert(0, known[name].get("overrides") or {})
        name = known[name].get("parent")
    return layers
