"""The hub, against stand-ins on this machine: one that works, one that never answers, one that is not there."""

import contextlib
import hashlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest
from image_files import write_image

SHA = "0123456789abcdef0123456789abcdef01234567"
REPO = "Mirali33/mb-change_cls_ctx"

PROGRAM = """
import json, sys, time
from planetcd_jax.pairs import hub, open_dataset
from planetcd_jax.errors import PlanetCDError

fetch, waited = hub.fetch, []

def timed(*args, **kwargs):
    start = time.monotonic()
    try:
        return fetch(*args, **kwargs)
    finally:
        waited.append(time.monotonic() - start)

hub.fetch = timed
try:
    pairs = open_dataset("ctx", **json.loads(sys.argv[1]))
    out = {"source": pairs.source, "n": len(pairs), "ids": pairs.ids[:2], "facts": pairs.provenance}
    if pairs.source == "real":
        out["mean"] = float(pairs.read(0).before.mean())
except PlanetCDError as err:
    out = {"error": type(err).__name__, "text": str(err)}
print(json.dumps({**out, "seconds": waited}))
"""


def _run(home, endpoint, options=None, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()}
    env = {**clean, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", **env}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(options or {})], capture_output=True, text=True, env=env, timeout=90
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _repository(root):
    """Files of a small Mars-Bench repository by their path; two test pairs and a train pair."""
    files = {}
    rows = ["file_id,split,feature_name,label"]
    rng = np.random.default_rng(0)
    for split, name, label in (("test", "a", 1), ("test", "b", 0), ("train", "c", 1)):
        rows.append(f"{name}_before.png,{split},impact,{label}")
        for date in ("before", "after"):
            path = root / f"{name}_{date}.png"
            write_image(path, rng.integers(0, 255, (40, 40), np.uint8))
            files[f"data/{split}/impact/{name}_{date}.png"] = path.read_bytes()
    files["annotation.csv"] = ("\n".join(rows) + "\n").encode()
    return files


def _handler(files, requests):
    class Hub(http.server.BaseHTTPRequestHandler):
        """As much of the hub's interface as its client asks for when it fetches a snapshot."""

        def do_HEAD(self):
            self._answer(body=False)

        def do_GET(self):
            self._answer(body=True)

        def _answer(self, body):
            path = self.path.split("?")[0]
            requests.append(f"{self.command} {path}")
            if path in (f"/api/datasets/{REPO}/revision/{r}" for r in ("main", SHA)):
                info = {"id": REPO, "sha": SHA, "private": False, "siblings": [{"rfilename": f} for f in files]}
                return self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"}, body)
            if path.startswith(f"/api/datasets/{REPO}/tree/"):
                tree = [
                    {"type": "file", "path": f, "size": len(b), "oid": hashlib.sha1(b).hexdigest()}
                    for f, b in files.items()
                ]
                return self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"}, body)
            prefix = f"/datasets/{REPO}/resolve/{SHA}/"
            if path.startswith(prefix) and path[len(prefix) :] in files:
                content = files[path[len(prefix) :]]
                facts = {"X-Repo-Commit": SHA, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
                return self._send(200, content, facts, body)
            code = "RevisionNotFound" if "/revision/" in path else "EntryNotFound"
            return self._send(404, b"{}", {"X-Error-Code": code, "X-Error-Message": "not here"}, body)

        def _send(self, status, content, headers, body):
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *args):
            pass

    return Hub


@contextlib.contextmanager
def _hub(files):
    requests = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(files, requests))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_fetches_a_split_records_commit_and_hashes_and_reuses_the_copy(tmp_path):
    (tmp_path / "made").mkdir()
    files = _repository(tmp_path / "made")
    with _hub(files) as (endpoint, requests):
        got = _run(tmp_path / "home", endpoint)
        assert (got["source"], got["n"], got["ids"]) == ("real", 2, ["a_before", "b_before"]), got
        facts = got["facts"]
        assert (facts["commit"], facts["revision"], facts["repository"]) == (SHA, "main", REPO)
        # oracle: hashlib on the bytes that were served
        assert facts["sha256"] == {
            name: hashlib.sha256(body).hexdigest() for name, body in files.items() if "train" not in name
        }
        assert not any("/data/train/" in r for r in requests)  # only the split that was asked for

        wrong = _run(tmp_path / "home", endpoint, {"revision": "nonsense"})
        assert wrong["error"] == "DataError" and "no revision 'nonsense'" in wrong["text"]

    again = _run(tmp_path / "home", endpoint)  # nobody listens there any more
    assert again["source"] == "real" and again["facts"]["commit"] == SHA and again["mean"] == got["mean"]
    assert "used the stored copy" in again["facts"]["notes"][0]
    offline = _run(tmp_path / "home", endpoint, HF_HUB_OFFLINE="1")
    assert offline["source"] == "real" and "HF_HUB_OFFLINE" in offline["facts"]["notes"][0]


def test_a_repository_of_another_layout_is_not_taken_for_the_set(tmp_path):
    with _hub({"README.md": b"elsewhere", "data/test-00000.parquet": b"x"}) as (endpoint, _):
        got = _run(tmp_path, endpoint)
        assert got["source"] == "simulated" and "has no annotation.csv" in got["facts"]["notes"][0]
        got = _run(tmp_path, endpoint, {"source": "real"})
        assert got["error"] == "HubUnreachable" and f"at commit {SHA} has no annotation.csv" in got["text"]


def test_a_hub_that_never_answers_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        got = _run(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert got["source"] == "simulated" and got["n"] == 96
    assert "did not answer in time" in got["facts"]["notes"][0]
    assert max(got["seconds"]) < 30  # far from the client's own retries, and slack for a busy machine


def test_the_hub_has_five_seconds_with_the_import_of_its_client(monkeypatch):
    """Checked with a clock of our own, since a busy machine keeps no time."""
    from planetcd_jax.pairs import hub

    given = []

    def resolve(repository, revision, patience):
        given.append(patience)
        return None, "the hub did not answer"

    monkeypatch.setattr(hub, "_resolve", resolve)
    for took in (0.5, 3.0, 60.0):
        monkeypatch.setattr(hub, "time", types.SimpleNamespace(monotonic=iter([100.0, 100.0 + took]).__next__))
        with pytest.raises(hub.HubUnreachable, match="did not answer"):
            hub.fetch("nobody/has-this", "main")
    assert given == [hub.DEADLINE_S - 0.5, 1.0, 1.0]  # a second at least, however long the import took
    assert hub.DEADLINE_S + 1.0 < 5


def test_no_hub_at_all_falls_back_and_says_so_or_is_an_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    got = _run(tmp_path, endpoint)
    assert got["source"] == "simulated"
    assert got["facts"]["notes"][0].startswith("SIMULATED data are used instead of ctx: " + REPO)
    got = _run(tmp_path, endpoint, {"source": "real"})
    assert got["error"] == "HubUnreachable"
    assert "--data_dir" in got["text"] and "--source=simulated" in got["text"] and "\n" not in got["text"]


def test_simulated_never_asks_the_hub(tmp_path, monkeypatch):
    from planetcd_jax.pairs import hub, open_dataset

    def fail(*args, **kwargs):
        pytest.fail("the hub was asked")

    monkeypatch.setattr(hub, "fetch", fail)
    assert open_dataset("ctx", source="simulated").source == "simulated"


def test_the_probe_is_bounded_even_when_the_client_is_not(monkeypatch):
    import huggingface_hub

    from planetcd_jax.pairs import hub

    released = threading.Event()

    class Stuck:
        def dataset_info(self, *args, **kwargs):
            released.wait(30)  # as a name look-up that no timeout of the client reaches
            raise OSError("late")

    monkeypatch.setattr(huggingface_hub, "HfApi", Stuck)
    start = time.monotonic()
    commit, reason = hub._resolve(REPO, "main", 0.2)
    waited = time.monotonic() - start
    released.set()
    assert commit is None and "did not answer" in reason
    assert waited < 15  # far from the 30 s of the stuck call, and slack for a busy machine
