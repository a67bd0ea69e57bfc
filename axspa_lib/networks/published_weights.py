"""Published weights by index (`data_manifest/weights.yaml`): found, downloaded where allowed, and checked."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import yaml

from axspa_lib.study.config import MANIFEST
from axspa_lib.study.errors import DataError, MissingResultError
from axspa_lib.study.runs import runs_root, sha256, write_text

log = logging.getLogger(__name__)


def weights() -> dict[str, dict[str, Any]]:
    """Return published weights by name: `file`, `url`, `sha256` (whole, its beginning, or None: unknown), `what`."""
    return yaml.safe_load((MANIFEST / "weights.yaml").read_text(encoding="utf-8"))


def weights_folder() -> Path:
    """Return where published weights are looked for: `$AXSPA_WEIGHTS`, or `weights/` among the results."""
    return Path(os.environ.get("AXSPA_WEIGHTS", runs_root() / "weights"))


def weights_path(name: str) -> Path:
    """Return a file of published weights, checked against its published or pinned checksum where there is one.

    Raises:
        MissingResultError: the file is not there; says where to get it and where to put it.
        DataError: no such weights, or the file is not the published or pinned one.
    """
    entry = _entry(name)
    path = weights_folder() / entry["file"]
    if not path.is_file():
        raise MissingResultError(f"{path} ({entry['what']}) is not there: download {entry['url']} to that place")
    return _checked(path, entry)


def pin_weights(name: str) -> str:
    """Write the checksum of the weights that lie there now beside them, and return it."""
    path = weights_path(name)
    value = sha256(path)
    write_text(path.with_name(path.name + ".sha256"), f"{value}  {path.name}\n")
    return value


def fetch_weights(name: str) -> Path:
    """Return a file of weights from the folder of weights, torch's cache, or the network.

    Raises:
        DataError: no network, or the file is not the published one; nothing of it is kept.
    """
    import torch

    entry = _entry(name)
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    for folder in (weights_folder(), cache):
        if (folder / entry["file"]).is_file():
            return _checked(folder / entry["file"], entry)
    target, part = cache / entry["file"], cache / f".{entry['file']}.part-{os.getpid()}"
    cache.mkdir(parents=True, exist_ok=True)
    log.info("downloading %s", entry["url"])
    try:
        torch.hub.download_url_to_file(entry["url"], str(part), progress=False)
        _checked(part, entry)
        part.replace(target)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{entry['file']} ({entry['what']}) could not be downloaded from {entry['url']} ({type(error).__name__}): "
            f"connect once, or put the file into {weights_folder()}, or choose another detector.start"
        ) from None
    finally:
        part.unlink(missing_ok=True)
    return target


def _entry(name: str) -> dict[str, Any]:
    known = weights()
    if name not in known:
        raise DataError(f"no published weights are called {name!r}: choose one of {', '.join(known)}")
    return known[name]


def _checked(path: Path, entry: dict[str, Any]) -> Path:
    """Return the path of a file that is the published one, or the one the user pinned."""
    pin = path.with_name(path.name + ".sha256")
    expected = entry["sha256"] or (pin.read_text(encoding="utf-8").split()[0] if pin.is_file() else None)
    if expected is None:
        log.warning("%s: nobody publishes its checksum; pin yours with %s.pin_weights", path.name, __name__)
        return path
    actual = sha256(path)
    if not actual.startswith(expected):
        raise DataError(f"{path}: is not the published file (sha256 {actual}, expected {expected}…): download it again")
    return path
