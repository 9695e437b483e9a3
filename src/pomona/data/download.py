"""Downloads that resume, and that a silent host does not hold up."""

from __future__ import annotations

import hashlib
import http.client
import math
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pomona.core.errors import DataError
from pomona.data.cache import Report, writing

CONNECT_SECONDS = 4.0
HURRIED_CONNECT_SECONDS = 1.0
READ_SECONDS = 15.0
_CHUNK_BYTES = 1 << 18
_WORTH_TELLING_BYTES = 1_000_000
_TRIES_WITHOUT_PROGRESS = 2


class Hosts:
    """Which hosts answer. A dead one is asked once; after the first silence the others get less time."""

    def __init__(self) -> None:
        self._failures: dict[str, str] = {}
        self._silent = False

    def check(self, url: str) -> None:
        """Connect to the host of a URL.

        Raises:
            DataError: It refuses, is unknown, or stays silent.
        """
        parsed = urllib.parse.urlsplit(url)
        host = parsed.hostname or ""
        if parsed.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
            return  # the proxy reaches the host, this machine need not
        if host not in self._failures:
            self._failures[host] = self._connect(host, parsed.port or (443 if url[:5] == "https" else 80))
        if self._failures[host]:
            raise DataError(f"{host}: {self._failures[host]}")

    def _connect(self, host: str, port: int) -> str:
        seconds = HURRIED_CONNECT_SECONDS if self._silent else CONNECT_SECONDS
        outcome: list[str] = []

        def connect() -> None:
            try:
                socket.create_connection((host, port), timeout=seconds).close()
                outcome.append("")
            except TimeoutError:
                pass
            except OSError as error:
                outcome.append(error.strerror or str(error))

        # A thread, because name resolution knows no time-out and each of a host's addresses has its own.
        thread = threading.Thread(target=connect, daemon=True)
        thread.start()
        thread.join(seconds)
        if outcome:
            return outcome[0]
        self._silent = True
        return f"no answer within {seconds:g} s"


def download(url: str, folder: Path, report: Report, hosts: Hosts) -> Path:
    """Fetch a URL into a folder, going on where an earlier attempt ended.

    Args:
        url: What to fetch.
        folder: Where the file and its unfinished ``.part`` lie; made if it is missing.
        report: Told the progress in steps of ten percent.
        hosts: Which hosts have answered so far.

    Returns:
        The whole file. Its content is not checked: the digest of what it decodes to is.

    Raises:
        DataError: The host, the answer or the connection failed; what has arrived is kept for the next time.
        CacheError: The folder cannot be written.
    """
    target = downloaded_path(url, folder)
    if target.exists():
        return target
    hosts.check(url)
    part = target.with_name(target.name + ".part")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        part.touch()
    tries = 0
    while True:
        before = part.stat().st_size
        try:
            _receive(url, part, report)
            break
        except (OSError, http.client.HTTPException) as error:
            # A 4xx or 5xx will be the same at once; a connection that broke goes on where it broke.
            tries = 0 if part.stat().st_size > before else tries + 1
            if isinstance(error, urllib.error.HTTPError) or tries >= _TRIES_WITHOUT_PROGRESS:
                raise DataError(f"{url}: {_reason(error)}") from error
    with writing(folder):
        part.replace(target)
    return target


def downloaded_path(url: str, folder: Path) -> Path:
    """Where a URL's file lies in a folder of downloads: a digest of the URL tells copies apart."""
    name = urllib.parse.urlsplit(url).path.rpartition("/")[2]
    return folder / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"


def _receive(url: str, part: Path, report: Report) -> None:
    have = part.stat().st_size
    with _ask(url, part, have) as answer:
        start = have if answer.status == 206 else 0
        length = answer.headers.get("Content-Length") or ""
        total = start + int(length) if length.isdigit() else None
        if start:
            report(f"going on at {size_text(start)} of {size_text(total)}")
        with writing(part):
            file = open(part, "r+b")  # noqa: SIM115 (closed below)
        with file:
            with writing(part):
                file.truncate(start)
                file.seek(start)
            for chunk in _chunks(answer, start, total, report):
                with writing(part):
                    file.write(chunk)
            with writing(part):
                file.flush()
    if total is not None and part.stat().st_size < total:
        raise ConnectionResetError(f"truncated at {part.stat().st_size} of {total} bytes")


def _ask(url: str, part: Path, have: int) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": "pomona", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=READ_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # The part is no beginning of this file, or all of it: which one cannot be told.
        _empty(part)
        raise ConnectionResetError("the server has nothing from there on") from error
    if answer.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        answer.close()
        _empty(part)
        raise ConnectionResetError("the server sent another range than was asked for")
    return answer


def _empty(part: Path) -> None:
    with writing(part):
        part.write_bytes(b"")


def _chunks(answer: Any, start: int, total: int | None, report: Report) -> Iterator[bytes]:
    done, told = start, 0
    while chunk := answer.read(_CHUNK_BYTES):
        done += len(chunk)
        yield chunk
        tenth = math.floor(10 * done / total) if total and total >= _WORTH_TELLING_BYTES else 0
        if tenth > told:
            told = tenth
            report(f"{10 * tenth} % of {size_text(total)}")


def size_text(count: int | None) -> str:
    """A number of bytes for a person.

    >>> size_text(20_279_490), size_text(5_125)
    ('20 MB', '5 kB')
    """
    if count is None:
        return "an unknown size"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    if isinstance(error, TimeoutError):
        return f"no data for {READ_SECONDS:g} s"
    return str(error) or type(error).__name__
