from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from pomona.core.errors import DataError
from pomona.data import download as download_module
from pomona.data.cache import CacheError
from pomona.data.download import Hosts, download, downloaded_path

from .conftest import Server

CONTENT = bytes(range(256)) * 10_000  # 2.56 MB, so that progress is told


@pytest.fixture
def lines() -> list[str]:
    return []


def get(server: Server, folder: Path, lines: list[str], name: str = "file.gz") -> Path:
    return download(server.base + name, folder, lines.append, Hosts())


def part_of(server: Server, folder: Path, content: bytes) -> Path:
    target = downloaded_path(server.base + "file.gz", folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.write_bytes(content)
    return part


def test_download_gets_the_file_and_tells_progress(server: Server, tmp_path: Path, lines: list[str]) -> None:
    server.files["file.gz"] = CONTENT
    found = get(server, tmp_path / "new", lines)
    assert found.read_bytes() == CONTENT
    assert found.name.endswith("-file.gz")
    assert lines[-1] == "100 % of 3 MB"
    assert [file.name for file in found.parent.iterdir()] == [found.name]


def test_finished_download_is_not_asked_for_again(server: Server, tmp_path: Path, lines: list[str]) -> None:
    server.files["file.gz"] = CONTENT
    assert get(server, tmp_path, lines) == get(server, tmp_path, lines)
    assert len(server.asked) == 1


def test_broken_connection_goes_on_where_it_broke(server: Server, tmp_path: Path, lines: list[str]) -> None:
    server.files["file.gz"] = CONTENT
    server.break_after["file.gz"] = [1_000_000, 700_000]
    assert get(server, tmp_path, lines).read_bytes() == CONTENT
    assert server.asked == [
        ("file.gz", None),
        ("file.gz", "bytes=1000000-"),
        ("file.gz", "bytes=1700000-"),
    ]
    assert "going on at 1 MB of 3 MB" in lines


def test_part_of_an_earlier_run_is_gone_on_with(server: Server, tmp_path: Path, lines: list[str]) -> None:
    server.files["file.gz"] = CONTENT
    part_of(server, tmp_path, CONTENT[:2_000_000])
    assert get(server, tmp_path, lines).read_bytes() == CONTENT
    assert server.asked == [("file.gz", "bytes=2000000-")]


def test_server_without_ranges_starts_over(server: Server, tmp_path: Path, lines: list[str]) -> None:
    server.files["file.gz"] = CONTENT
    server.ranges = False
    part_of(server, tmp_path, b"something else that is longer" * 100_000)
    assert get(server, tmp_path, lines).read_bytes() == CONTENT


def test_part_that_is_too_long_starts_over(server: Server, tmp_path: Path, lines: list[str]) -> None:
    server.files["file.gz"] = CONTENT
    part_of(server, tmp_path, CONTENT + b"more")
    assert get(server, tmp_path, lines).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == ["bytes=2560004-", None]


def test_other_range_than_asked_for_starts_over(server: Server, tmp_path: Path, lines: list[str]) -> None:
    server.files["file.gz"] = CONTENT
    server.wrong_ranges = True
    part_of(server, tmp_path, CONTENT[:100])
    assert get(server, tmp_path, lines).read_bytes() == CONTENT


def test_connection_that_always_breaks_is_given_up_and_kept(
    server: Server, tmp_path: Path, lines: list[str]
) -> None:
    server.files["file.gz"] = CONTENT
    server.break_after["file.gz"] = [500_000, 0, 0, 0]
    with pytest.raises(DataError, match=r"file.gz: truncated at 500000 of 2560000 bytes"):
        get(server, tmp_path, lines)
    server.break_after.clear()
    assert get(server, tmp_path, lines).read_bytes() == CONTENT
    assert server.asked[-1] == ("file.gz", "bytes=500000-")


def test_missing_file_is_said_at_once(server: Server, tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(DataError, match=r"nothing.gz: HTTP 404"):
        get(server, tmp_path, lines, "nothing.gz")
    assert len(server.asked) == 1


def test_refused_host_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        hosts = Hosts()
        with pytest.raises(DataError, match=r"127.0.0.1: .*refused"):
            download(url, tmp_path, print, hosts)
        monkeypatch.setattr(download_module.socket, "create_connection", None)  # would fail if it were called
        with pytest.raises(DataError, match=r"127.0.0.1: .*refused"):
            download(url + "2", tmp_path, print, hosts)


def test_silent_host_is_left_and_the_next_gets_less_time(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed: list[float] = []

    def silent(address: tuple[str, int], timeout: float) -> socket.socket:
        allowed.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(download_module.socket, "create_connection", silent)
    hosts = Hosts()
    with pytest.raises(DataError, match=r"a.example: no answer within 4 s"):
        hosts.check("https://a.example/x")
    with pytest.raises(DataError, match=r"b.example: no answer within 1 s"):
        hosts.check("https://b.example/x")
    assert allowed == [4.0, 1.0]


def test_host_behind_a_proxy_is_not_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module.socket, "create_connection", None)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    Hosts().check("https://a.example/x")


def test_full_disk_is_not_taken_for_a_bad_connection(
    server: Server, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["file.gz"] = CONTENT

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download_module, "open", full, raising=False)
    with pytest.raises(CacheError, match="No space left on device"):
        get(server, tmp_path, lines)
    assert len(server.asked) == 1
