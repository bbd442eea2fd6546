"""A server of files, on this machine, that answers ranges as storage on a network does, and fails now and then."""

import contextlib
import http.server
import pathlib
import threading
from collections.abc import Iterator

from local_server import running


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder; every `failing`th request is answered by 503.

    Attributes:
        requests, failures: How many there were.
    """

    daemon_threads = True

    def __init__(self, folder: pathlib.Path, failing: int):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.failing, self.requests, self.failures = folder, failing, 0, 0
        self.count = threading.Lock()

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body: bool):
        with self.server.count:
            self.server.requests += 1
            fails = self.server.requests % self.server.failing == 0
            self.server.failures += fails
        path = self.server.folder / self.path.lstrip("/")
        if fails or not path.is_file():
            self.send_error(503 if fails else 404)
            return
        body = path.read_bytes()
        asked = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        first, last = int(asked[0] or 0), min(int(asked[2] or len(body) - 1), len(body) - 1)
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        if with_body:
            self.wfile.write(body[first : last + 1])

    def log_message(self, *_):
        """Says nothing."""


@contextlib.contextmanager
def stuttering(folder: pathlib.Path, failing: int = 10) -> Iterator[Server]:
    """A server of a folder while the block runs."""
    with running(Server(folder, failing)) as server:
        yield server
