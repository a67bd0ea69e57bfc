"""Published weights: found, pinned, downloaded and refused, against files and a server that really serve bytes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from axspa_lib.networks import published_weights as weights
from axspa_lib.study.config import MANIFEST
from axspa_lib.study.errors import DataError, MissingResultError

SUM = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Address of a server of `w.pt` and `short.pt`."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "w.pt").write_bytes(b"weights")
    (folder / "damaged.pt").write_bytes(b"weight")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(autouse=True)
def index(tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of its own, an empty folder of weights and an empty cache."""
    entry = {"file": "w.pt", "url": f"{served}/w.pt", "sha256": None, "what": "a network"}
    entries = {
        "unpinned": entry,
        "whole": entry | {"sha256": SUM},
        "beginning": entry | {"sha256": SUM[:8]},
        "damaged": entry | {"file": "damaged.pt", "url": f"{served}/damaged.pt", "sha256": SUM[:8]},
        "gone": entry | {"file": "gone.pt", "url": f"{served}/gone.pt"},
    }
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump(entries))
    monkeypatch.setattr(weights, "MANIFEST", tmp_path)
    monkeypatch.setenv("AXSPA_WEIGHTS", str(tmp_path / "mine"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    (tmp_path / "mine").mkdir()


def test_absent_weights_say_where_to_get_them() -> None:
    with pytest.raises(MissingResultError, match=r"w\.pt \(a network\) is not there: download http://127"):
        weights.weights_path("unpinned")
    with pytest.raises(DataError, match="choose one of"):
        weights.weights_path("other")


def test_a_pinned_copy_is_refused_once_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "mine" / "w.pt"
    path.write_bytes(b"weights")
    assert weights.weights_path("unpinned") == path and "nobody publishes its checksum" in caplog.text
    assert weights.pin_weights("unpinned") == SUM
    caplog.clear()
    assert weights.weights_path("unpinned") == path and not caplog.text
    path.write_bytes(b"other")
    with pytest.raises(DataError, match="not the published file"):
        weights.weights_path("unpinned")


@pytest.mark.parametrize("name", ["whole", "beginning"])
def test_a_published_checksum_needs_no_pin(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine" / "w.pt").write_bytes(b"weights")
    assert weights.weights_path(name) == tmp_path / "mine" / "w.pt"
    (tmp_path / "mine" / "w.pt").write_bytes(b"other")
    with pytest.raises(DataError, match="download it again"):
        weights.weights_path(name)


def test_what_may_be_downloaded_is_downloaded_once_and_the_own_copy_comes_first(tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "hub" / "checkpoints" / "w.pt"
    assert weights.fetch_weights("beginning") == cached and cached.read_bytes() == b"weights"
    (tmp_path / "served" / "w.pt").unlink()
    assert weights.fetch_weights("whole") == cached
    (tmp_path / "mine" / "w.pt").write_bytes(b"weights")
    assert weights.fetch_weights("whole") == tmp_path / "mine" / "w.pt"


def test_nothing_is_kept_of_a_download_that_fails_or_is_not_the_published_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"damaged\.pt.*is not the published file"):
        weights.fetch_weights("damaged")
    with pytest.raises(DataError, match=r"gone\.pt \(a network\) could not be downloaded .* another detector\.start"):
        weights.fetch_weights("gone")
    assert list((tmp_path / "cache" / "hub" / "checkpoints").iterdir()) == []


def test_the_committed_index_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MANIFEST", MANIFEST)
    found = weights.weights()
    assert {"weights_iliac", "weights_sacrum", "weights_mrcnn"} < set(found)
    for entry in found.values():
        assert set(entry) == {"file", "url", "sha256", "what"} and entry["url"].endswith(f"/{entry['file']}")
        assert entry["sha256"] is None or (isinstance(entry["sha256"], str) and int(entry["sha256"], 16))


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_the_index_names_torchvisions_own_files(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import ResNet18_Weights, ResNet50_Weights

    monkeypatch.setattr(weights, "MANIFEST", MANIFEST)
    entry = weights.weights()[f"imagenet_torchvision_{backbone}"]
    theirs = {"resnet18": ResNet18_Weights, "resnet50": ResNet50_Weights}[backbone].IMAGENET1K_V1
    assert entry["url"] == theirs.url and f"-{entry['sha256']}." in entry["file"]
