"""A stand-in for the Hugging Face hub on this machine: as much of its interface as its client asks for.

Files lie behind a redirect to another host with ranges and ETags, as LFS files do; on request behind Xet hashes, with
a chunk store that answers as the client's Rust part asks. It can be slow, and it can break connections.
"""

import dataclasses
import hashlib
import http.server
import json
import threading
import time
import urllib.parse

from local_server import served

SHA = "0123456789abcdef0123456789abcdef01234567"
CHUNK = 65536
"""Bytes in one chunk of the chunk store; the real one cuts by content, up to 128 KiB."""


@dataclasses.dataclass
class Hub:
    """What is served, and how.

    Attributes:
        repository: Owner and name.
        files: Contents by path.
        kind: "datasets" or "models".
        xet: None; "works"; or "broken", where the chunk store refuses.
        delay: Seconds before each answer of the interface.
        pause: Seconds between two pieces of a file.
        holds: Of single files, by path, the last byte is sent when this happens.
        breaks: Connections that are cut in the middle of a file, by path; each counts down.
        requests: "METHOD path" of each request, with the range that was asked for.
    """

    repository: str
    files: dict[str, bytes]
    kind: str = "datasets"
    xet: str | None = None
    delay: float = 0.0
    pause: float = 0.0
    holds: dict[str, threading.Event] = dataclasses.field(default_factory=dict)
    breaks: dict[str, int] = dataclasses.field(default_factory=dict)
    requests: list[str] = dataclasses.field(default_factory=list)

    def path_of_digest(self, digest: str) -> str:
        """The file whose SHA-256 is asked for."""
        return next(path for path, body in self.files.items() if hashlib.sha256(body).hexdigest() == digest)


def _entry(hub: Hub, path: str) -> dict:
    body = hub.files[path]
    digest = hashlib.sha256(body).hexdigest()
    entry = {"type": "file", "path": path, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
    entry["lfs"] = {"oid": digest, "size": len(body), "pointerSize": 130}
    return entry | ({"xetHash": digest} if hub.xet else {})


def _sibling(hub: Hub, path: str) -> dict:
    entry = _entry(hub, path)
    lfs = {"sha256": entry["lfs"]["oid"], "size": entry["size"], "pointerSize": 130}
    return {"rfilename": path, "size": entry["size"], "blobId": entry["oid"], "lfs": lfs}


def _xorb(body: bytes) -> bytes:
    """The chunks of a file as the chunk store sends them: header of 8 bytes, then the bytes as they are."""
    chunks = [body[i : i + CHUNK] for i in range(0, len(body), CHUNK)]
    size = [len(c).to_bytes(3, "little") for c in chunks]
    return b"".join(b"\0" + n + b"\0" + n + c for n, c in zip(size, chunks, strict=True))


def _reconstruction(hub: Hub, digest: str, address: str) -> dict:
    """How a file is put together: one term, all chunks of one xorb."""
    body = hub.files[hub.path_of_digest(digest)]
    chunks = {"start": 0, "end": -(-len(body) // CHUNK)}
    where = {"url": f"{address}/xorb/{digest}", "url_range": {"start": 0, "end": len(_xorb(body)) - 1}}
    return {
        "offset_into_first_range": 0,
        "terms": [{"hash": digest, "unpacked_length": len(body), "range": chunks}],
        "fetch_info": {digest: [{"range": chunks, **where}]},
    }


def _handler(hub: Hub):
    prefix = "/datasets/" if hub.kind == "datasets" else "/"

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self._answer()

        def do_GET(self):
            self._answer()

        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer()

        @property
        def address(self):
            return f"http://127.0.0.1:{self.server.server_port}"

        @property
        def store(self):
            """The same server under the name of another host, as the hub's store of large files is one."""
            return f"http://localhost:{self.server.server_port}"

        def _answer(self):
            path = urllib.parse.unquote(self.path.split("?")[0])
            hub.requests.append(" ".join(filter(None, (self.command, path, self.headers.get("Range")))))
            api = f"/api/{hub.kind}/{hub.repository}/"
            resolve = f"{prefix}{hub.repository}/resolve/"
            if path.startswith(api):
                time.sleep(hub.delay)
                return self._api(path[len(api) :])
            if path.startswith(resolve):
                revision, _, name = path[len(resolve) :].partition("/")
                return self._resolve(name) if revision in ("main", SHA) else self._missing("RevisionNotFound")
            if path.startswith("/cdn/"):
                return self._file(hub.path_of_digest(path[5:]), hub.files[hub.path_of_digest(path[5:])])
            if path.startswith("/xorb/"):
                return self._file("", _xorb(hub.files[hub.path_of_digest(path[6:])]))
            if "/reconstructions/" in path and hub.xet == "works" and path.startswith("/v1/"):
                return self._json(_reconstruction(hub, path.rsplit("/", 1)[1], self.store))
            return self._missing("EntryNotFound")

        def _api(self, rest):
            if rest in (f"revision/{r}" for r in ("main", SHA)):
                siblings = [_sibling(hub, f) for f in hub.files]
                return self._json({"id": hub.repository, "sha": SHA, "private": False, "siblings": siblings})
            if rest.startswith("tree/"):
                return self._json([_entry(hub, f) for f in hub.files])
            if rest.startswith("xet-read-token/"):
                expiry = str(int(time.time()) + 3600)
                facts = {"X-Xet-Cas-Url": self.store, "X-Xet-Access-Token": "token", "X-Xet-Token-Expiration": expiry}
                return self._send(200, b"{}", facts)
            return self._missing("RevisionNotFound" if rest.startswith("revision/") else "EntryNotFound")

        def _resolve(self, name):
            if name not in hub.files:
                return self._missing("EntryNotFound")
            digest = hashlib.sha256(hub.files[name]).hexdigest()
            facts = {"X-Repo-Commit": SHA, "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(hub.files[name]))}
            facts["Location"] = f"{self.store}/cdn/{digest}"
            if hub.xet:
                route = f"{self.address}/api/{hub.kind}/{hub.repository}/xet-read-token/{SHA}"
                facts |= {"X-Xet-Hash": digest, "Link": f'<{route}>; rel="xet-auth"'}
            return self._send(302, b"", facts)

        def _file(self, name, body):
            start, end = 0, len(body) - 1
            if self.headers.get("Range"):
                first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
                start, end = int(first), int(last or end)
            part = body[start : end + 1]
            facts = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "Accept-Ranges": "bytes"}
            if self.headers.get("Range"):
                facts["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
            self._send(206 if self.headers.get("Range") else 200, part, facts, name)

        def _json(self, value):
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _missing(self, code):
            self._send(404, b"{}", {"X-Error-Code": code, "X-Error-Message": "not here"})

        def _send(self, status, content, headers, name=""):
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self._body(content, name)

        def _body(self, content, name):
            cut = hub.breaks.get(name, 0)
            if cut:
                hub.breaks[name] = cut - 1
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                self.close_connection = True
                return self.connection.shutdown(2)
            if name in hub.holds:
                self.wfile.write(content[:-1])
                self.wfile.flush()
                hub.holds[name].wait()
                content = content[-1:]
            pause = hub.pause if name else 0.0
            step = max(1, len(content) // 4) if pause else len(content)
            for i in range(0, len(content), step or 1):
                self.wfile.write(content[i : i + step])
                self.wfile.flush()
                time.sleep(pause)

        def log_message(self, *args):
            pass

    return Handler


def serving(hub: Hub):
    """Address at which the hub is served, while a block runs."""
    return served(_handler(hub))


def folder_files(root):
    """Contents of the files below a folder, by relative path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
