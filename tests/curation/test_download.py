"""Downloads against a real HTTP server on loopback that also truncates, stalls and corrupts."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from axspa_lib.curation import download
from axspa_lib.study.errors import DataError

FILES = {
    f"images/{name}.nii.gz": np.random.default_rng(i).bytes(200_000 + i) for i, name in enumerate(("a", "b", "c d"))
}


class Server:
    """Serves `FILES`; `faults[path]` is a list of faults, one per request, then it behaves."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.faults: dict[str, list[str]] = {}
        self.ranges_supported = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.lstrip("/").replace("%20", " ")
                outer.requests[path] += 1
                fault = outer.faults.get(path, [])
                fault = fault.pop(0) if fault else ""
                if fault == "missing":
                    self.send_error(404)
                    return
                body = FILES[path]
                start = 0
                asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                if asked and outer.ranges_supported:
                    outer.ranges.append(self.headers["Range"])
                    start = int(asked[1])
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                if fault == "corrupt":
                    body = body[:-1] + bytes([body[-1] ^ 1])
                if fault in ("truncate", "stall"):
                    self.wfile.write(body[start : start + 70_000])
                    self.wfile.flush()
                    if fault == "stall":
                        time.sleep(1.5)
                    self.close_connection = True
                    return
                self.wfile.write(body[start:])

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture(autouse=True)
def small_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest of three files, of which copies that differ are refused (`strict`) or expected (`altered`)."""
    folder = tmp_path / "manifest"
    folder.mkdir()
    table = pd.DataFrame(
        [(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in FILES.items()],
        columns=["path", "bytes", "sha256"],
    )
    table.to_csv(folder / "files.csv", index=False)
    base = {"base_url": "http://127.0.0.1:1/", "files": "files.csv"}
    (folder / "sources.yaml").write_text(
        yaml.safe_dump({"strict": base, "altered": base | {"altered_copies": "local copies are de-identified"}})
    )
    monkeypatch.setattr(download, "MANIFEST", folder)
    monkeypatch.delenv("AXSPA_MIRROR", raising=False)


def fetch(server: Server, out: Path, name: str = "strict", timeout: float = 0.5, attempts: int = 3) -> download.Fetched:
    return download.fetch_collection(name, out, progress=False, base_url=server.url, timeout=timeout, attempts=attempts)


def resumed_at(asked: str) -> int:
    return int(asked.removeprefix("bytes=").removesuffix("-"))


def whole(folder: Path) -> bool:
    left_over = [
        path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).as_posix() not in FILES
    ]
    return not left_over and all((folder / path).read_bytes() == data for path, data in FILES.items())


def test_a_collection_arrives_whole_and_is_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "çà et là"
    assert fetch(server, out).complete and whole(out)
    assert fetch(server, out).complete and sum(server.requests.values()) == 3


@pytest.mark.parametrize("fault", ["truncate", "stall"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path, fault: str, ranges: bool) -> None:
    server.ranges_supported = ranges
    server.faults["images/b.nii.gz"] = [fault]
    assert fetch(server, tmp_path / "out").complete and whole(tmp_path / "out")
    assert server.requests["images/b.nii.gz"] == 2
    assert [resumed_at(asked) > 60_000 for asked in server.ranges] == ([True] if ranges else [])


def test_a_later_call_resumes_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    server.faults["images/b.nii.gz"] = ["truncate"]
    first = fetch(server, tmp_path / "out", attempts=1)
    assert list(first.missing) == ["images/b.nii.gz"] and "connection" in first.missing["images/b.nii.gz"]
    assert fetch(server, tmp_path / "out", attempts=1).complete and whole(tmp_path / "out")
    assert [resumed_at(asked) > 60_000 for asked in server.ranges] == [True]


def test_a_damaged_beginning_is_thrown_away_once(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "out" / "images" / "a.nii.gz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * 1000)
    assert fetch(server, tmp_path / "out").complete and whole(tmp_path / "out")


def test_a_wrong_checksum_is_an_error_that_names_the_file_and_keeps_nothing(server: Server, tmp_path: Path) -> None:
    server.faults["images/b.nii.gz"] = ["corrupt"]
    with pytest.raises(DataError, match=r"images/b\.nii\.gz of 'strict' has another checksum .*try again"):
        fetch(server, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("b.nii.gz*"))
    assert fetch(server, tmp_path / "out").complete  # the other two were kept, the bad one comes again
    assert server.requests["images/a.nii.gz"] == 1


def test_a_part_of_a_collection_is_enough_and_says_what_is_missing(server: Server, tmp_path: Path) -> None:
    server.faults["images/b.nii.gz"] = ["missing"]
    fetched = fetch(server, tmp_path / "out")
    assert not fetched.complete and len(fetched.present) == 2
    assert "2 of 3 files" in str(fetched) and "images/b.nii.gz" in str(fetched) and "404" in str(fetched)


def test_no_network_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="AXSPA_MIRROR"):
        download.fetch_collection("strict", tmp_path / "out", progress=False, timeout=0.5, attempts=1)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror" / "strict"
    for path, data in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return tmp_path / "mirror"


def test_a_mirror_stands_in_for_the_network(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert download.fetch_collection("strict", tmp_path / "one", mirror=mirror, progress=False).complete
    monkeypatch.setenv("AXSPA_MIRROR", str(mirror / "strict"))
    assert download.fetch_collection("strict", tmp_path / "two", progress=False).complete
    assert whole(tmp_path / "one") and whole(tmp_path / "two")
    with pytest.raises(DataError, match="not a folder"):
        download.fetch_collection("strict", tmp_path / "three", mirror=tmp_path / "nowhere", progress=False)


def test_an_altered_copy_is_refused_unless_the_collection_expects_it(
    mirror: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (mirror / "strict" / "images" / "a.nii.gz").write_bytes(b"de-identified")
    with pytest.raises(DataError, match="another checksum"):
        download.fetch_collection("strict", tmp_path / "one", mirror=mirror, progress=False)
    assert not (tmp_path / "one" / "images" / "a.nii.gz").exists()
    fetched = download.fetch_collection("altered", tmp_path / "two", mirror=mirror / "strict", progress=False)
    assert fetched.altered == ["images/a.nii.gz"] and not fetched.complete and not fetched.missing
    assert "local copy, checksums differ" in caplog.text


def test_a_de_identified_copy_in_place_is_not_replaced_by_the_published_file(server: Server, tmp_path: Path) -> None:
    kept = tmp_path / "out" / "images" / "a.nii.gz"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"de-identified")
    assert fetch(server, tmp_path / "out", "altered").altered == ["images/a.nii.gz"]
    assert kept.read_bytes() == b"de-identified" and server.requests["images/a.nii.gz"] == 0


def test_a_disk_that_is_too_small_is_named_before_anything_is_fetched(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(DataError, match="make room"):
        fetch(server, tmp_path / "out")
    assert not server.requests


def test_a_folder_that_cannot_be_written_is_named(mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(DataError, match=r"taken/collection/images/.* cannot be written \(Not a directory\)"):
        download.fetch_collection("strict", tmp_path / "taken" / "collection", mirror=mirror, progress=False)


def test_an_unknown_collection_is_named() -> None:
    with pytest.raises(DataError, match="no public collection"):
        download.manifest("vhj")


def test_the_committed_manifests_are_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MANIFEST", Path(download.__file__).resolve().parents[2] / "data_manifest")
    for name, source in download.sources().items():
        table = download.manifest(name)
        assert source["commit"] in source["base_url"] and source["base_url"].endswith("/data/")
        assert table["path"].is_unique and (table["bytes"] > 0).all()
        assert table["sha256"].str.fullmatch("[0-9a-f]{64}").all()
        assert not any(Path(path).is_absolute() or ".." in path for path in table["path"])
    assert len(download.manifest("vhi")) == 112 and len(download.manifest("iaxspa-demo")) == 30
    subjects = pd.read_csv(download.MANIFEST / "vhi" / "subjects.csv", dtype=str)
    scans = {Path(path).name.split("_")[0] for path in download.manifest("vhi")["path"] if "T1W" in path}
    assert set(subjects["scan"]) == scans and len(scans) == 47 and subjects["subject"].nunique() == 30
