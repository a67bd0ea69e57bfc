"""Layers of nested values over one another, from YAML in which no key stands twice."""

from __future__ import annotations

from typing import Any

import yaml

from axspa_lib.study.errors import ConfigError


def merge(into: dict[str, Any], layer: dict[str, Any]) -> None:
    """Merge nested `layer` over `into`, in place."""
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key may stand once: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node."""
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
    return yaml.load(text, Loader=_UniqueKeys)


def nest(keys: list[str], value: Any) -> dict[str, Any]:
    """A value under nested keys.

    >>> nest(["detector", "iterations"], 100)
    {'detector': {'iterations': 100}}
    """
    return {keys[0]: nest(keys[1:], value) if len(keys) > 1 else value}
