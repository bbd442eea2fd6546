"""A stand-in for Zenodo on this machine: its search, one record's description, and files by ranges."""

import dataclasses
import hashlib
import http.server
import json
import urllib.parse

from local_server import served


@dataclasses.dataclass
class Zenodo:
    """What is served, and how.

    Attributes:
        records: Title and files by number.
        ranges: Whether a part of a file may be asked for.
        cuts: After how many bytes a connection ends, one number for each of the next downloads.
        md5: Given in place of the true one.
        requests: "PATH" of each request, with the range that was asked for.
    """

    records: dict[int, tuple[str, dict[str, bytes]]]
    ranges: bool = True
    cuts: list[int] = dataclasses.field(default_factory=list)
    md5: str | None = None
    requests: list[str] = dataclasses.field(default_factory=list)

    def description(self, number: int, address: str) -> dict:
        """A record as the interface tells it."""
        title, files = self.records[number]
        entries = [
            {
                "key": name,
                "size": len(body),
                "checksum": "md5:" + (self.md5 or hashlib.md5(body).hexdigest()),
                "links": {"self": f"{address}/api/records/{number}/files/{name}/content"},
            }
            for name, body in files.items()
        ]
        return {"id": number, "doi": f"10.5281/zenodo.{number}", "metadata": {"title": title}, "files": entries}


def _handler(zenodo: Zenodo):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            path, _, query = self.path.partition("?")
            asked = self.headers.get("Range", "")
            zenodo.requests.append(f"{path} {asked}".strip())
            address = f"http://127.0.0.1:{self.server.server_port}"
            parts = path.strip("/").split("/")
            if path == "/api/records":
                wanted = [word[1:] for word in urllib.parse.parse_qs(query)["q"][0].split()]
                fitting = [n for n, (title, _) in zenodo.records.items() if all(w in title.lower() for w in wanted)]
                return self._json({"hits": {"hits": [zenodo.description(n, address) for n in fitting]}})
            number = int(parts[2])
            if number not in zenodo.records:
                return self._send(404, b"{}", {})
            if len(parts) == 3:
                return self._json(zenodo.description(number, address))
            return self._file(zenodo.records[number][1][parts[4]], asked)

        def _json(self, value):
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _file(self, body, asked):
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and zenodo.ranges else 0
            facts = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
            self._send(206 if start else 200, body[start:], facts, zenodo.cuts.pop(0) if zenodo.cuts else None)

        def _send(self, status, content, headers, cut=None):
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content[:cut])
            if cut is not None:
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)

        def log_message(self, *args):
            pass

    return Handler


def serving(zenodo: Zenodo):
    """Address at which the records are served, while a block runs."""
    return served(_handler(zenodo))
