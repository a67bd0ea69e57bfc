"""Public collections by manifest: each file by URL at a pinned commit, size and SHA-256.

`data_manifest/sources.yaml` names the collections. A download resumes where it broke, a part of a collection is
enough to work with, and a file whose checksum differs from the published one is refused by name.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from tqdm.auto import tqdm

from axspa_lib.study.config import MANIFEST
from axspa_lib.study.errors import DataError
from axspa_lib.study.runs import sha256

log = logging.getLogger(__name__)

#: Files in a row that fail with no byte received before the network counts as absent.
_GIVE_UP = 3


@dataclass
class Fetched:
    """Contents of a collection's folder after `fetch_collection`; paths are those of the manifest.

    Attributes:
        folder: the collection on disk.
        present: files whose checksum is the published one.
        altered: files of a local copy whose checksum differs where the manifest expects that (de-identified copies).
        missing: path -> why it is not there.
    """

    folder: Path
    present: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """True when every file of the manifest is there, as published."""
        return not self.missing and not self.altered

    def __str__(self) -> str:
        total = len(self.present) + len(self.altered) + len(self.missing)
        text = f"{len(self.present)} of {total} files as published"
        if self.altered:
            text += f", {len(self.altered)} of a local copy whose checksums differ from the published ones"
        if self.missing:
            first, why = next(iter(self.missing.items()))
            text += f", {len(self.missing)} missing (the first: {first}: {why})"
        return text


class _WrongChecksumError(Exception):
    pass


class _UnavailableError(Exception):
    def __init__(self, why: str, reached: bool) -> None:
        super().__init__(why)
        self.reached = reached


def sources() -> dict[str, dict[str, Any]]:
    """Return all public collections by name, as `data_manifest/sources.yaml` describes them."""
    return yaml.safe_load((MANIFEST / "sources.yaml").read_text(encoding="utf-8"))


def manifest(name: str) -> pd.DataFrame:
    """Return the files of a collection: `path` (relative to its folder), `bytes`, `sha256`."""
    known = sources()
    if name not in known:
        raise DataError(f"no public collection is called {name!r}: choose one of {', '.join(known)}")
    return pd.read_csv(MANIFEST / known[name]["files"], dtype={"path": str, "bytes": int, "sha256": str})


def fetch_collection(
    name: str,
    out: Path,
    *,
    mirror: Path | None = None,
    progress: bool = True,
    base_url: str | None = None,
    timeout: float = 30.0,
    attempts: int = 3,
) -> Fetched:
    """Bring a public collection into `out`, from a local mirror or the network; call again to resume.

    Args:
        name: a key of `data_manifest/sources.yaml`.
        out: the collection's folder; what is already there with the published checksum is not fetched again.
        mirror: folder holding the collection, or a folder of collections by name; stands in for the network.
            Default: `$AXSPA_MIRROR`, else the network.
        progress: draw a progress bar.
        base_url: in place of the manifest's, with a final slash.
        timeout: seconds without a byte after which a connection counts as broken.
        attempts: how often a file is tried; a broken one goes on where it stopped.

    Returns:
        What is there now, and what is missing and why: a part of a collection is enough to work with.
    """
    table, source = manifest(name), sources()[name]
    altered_allowed = "altered_copies" in source
    if mirror is None and os.environ.get("AXSPA_MIRROR"):
        mirror = Path(os.environ["AXSPA_MIRROR"])
    if mirror is not None:
        mirror = mirror / name if (mirror / name).is_dir() else mirror
        if not mirror.is_dir():
            raise DataError(f"the mirror {mirror} is not a folder: correct $AXSPA_MIRROR or the `mirror` argument")
    url = base_url or source["base_url"]
    _check_space(out, table)
    result, wrong, in_a_row = Fetched(out), list[str](), 0
    with tqdm(total=int(table["bytes"].sum()), unit="B", unit_scale=True, desc=name, disable=not progress) as bar:
        for path, size, expected in table[["path", "bytes", "sha256"]].itertuples(index=False):
            target = out / path
            as_published = True
            try:
                if target.is_file() and target.stat().st_size == size and sha256(target) == expected:
                    pass
                elif target.is_file() and altered_allowed:
                    as_published = False
                elif mirror is not None:
                    as_published = _copy(mirror / path, target, expected, altered_allowed)
                elif in_a_row >= _GIVE_UP:
                    raise _UnavailableError("no network", reached=False)
                else:
                    _download(url + path, target, expected, size, timeout, attempts)
                    in_a_row = 0
                (result.present if as_published else result.altered).append(path)
            except _WrongChecksumError:
                wrong.append(path)
            except _UnavailableError as error:
                result.missing[path] = str(error)
                in_a_row += not error.reached
            except OSError as error:
                raise DataError(
                    f"{target} of {name!r} cannot be written ({error.strerror or error}): choose a folder that is yours"
                ) from None
            bar.update(size)
    if wrong:
        origin = url if mirror is None else f"the mirror {mirror}"
        raise DataError(
            f"{wrong[0]} of {name!r} has another checksum than published ({len(wrong)} such files from {origin}): "
            "nothing of it was kept; try again, and if it stays so the origin has changed or is damaged"
        )
    if not result.present and not result.altered:
        raise DataError(
            f"nothing of {name!r} could be had ({result.missing[table['path'][0]]}): "
            "check the network, or name a local copy with $AXSPA_MIRROR"
        )
    if result.altered:
        log.warning("%s: local copy, checksums differ: %s", name, source["altered_copies"])
    if result.missing:
        log.warning("%s: %s", name, result)
    return result


def _check_space(out: Path, table: pd.DataFrame) -> None:
    have = sum((out / path).stat().st_size for path in table["path"] if (out / path).is_file())
    existing = next(parent for parent in [out, *out.absolute().parents] if parent.is_dir())
    free, need = shutil.disk_usage(existing).free, int(table["bytes"].sum()) - have
    if need > free:
        raise DataError(
            f"{out}: needs {need >> 20} MiB more and the disk has {free >> 20}: make room or choose another"
        )


def _copy(origin: Path, target: Path, expected: str, altered_allowed: bool) -> bool:
    """Copy from a mirror; True where the checksum is the published one, False for an expected alteration."""
    if not origin.is_file():
        raise _UnavailableError("not in the mirror", reached=True)
    published = sha256(origin) == expected
    if not published and not altered_allowed:
        raise _WrongChecksumError
    target.parent.mkdir(parents=True, exist_ok=True)
    if origin.resolve() != target.resolve():
        part = target.with_name(target.name + ".part")
        shutil.copyfile(origin, part)
        part.replace(target)
    return published


def _download(url: str, target: Path, expected: str, size: int, timeout: float, attempts: int) -> None:
    """Download a file into `<target>.part`, going on from its end, and keep it when its checksum is right."""
    import requests

    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    begun = part.exists()
    for left in reversed(range(attempts)):
        try:
            _receive(url, part, size, timeout)
            break
        except requests.HTTPError as error:
            why = str(error).partition(" for url")[0]
            raise _UnavailableError(f"the server refuses it ({why})", reached=True) from None
        except requests.RequestException as error:
            if not left:
                why = f"the connection failed ({type(error).__name__})"
                raise _UnavailableError(why, reached=part.exists()) from None
    if sha256(part) == expected:
        part.replace(target)
        return
    part.unlink()
    if not begun:
        raise _WrongChecksumError
    _download(url, target, expected, size, timeout, attempts)  # what an earlier call left was damaged: from the start


def _receive(url: str, part: Path, size: int, timeout: float) -> None:
    """Append to a part what is still missing of its file."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    have = have if have < size else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as answer:
        answer.raise_for_status()
        resumed = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        with part.open("ab" if resumed else "wb") as file:
            for chunk in answer.iter_content(1 << 16):
                file.write(chunk)
    if part.stat().st_size < size:
        raise requests.ConnectionError("the connection ended before the file did")
