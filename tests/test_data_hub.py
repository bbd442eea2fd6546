"""The hub, against stand-ins on this machine: one that works, one that never answers, one that is not there."""

import functools
import hashlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest
from hub_server import SHA, Hub, folder_files, serving
from image_files import write_image

REPO = "Mirali33/mb-change_cls_ctx"
FIXTURES = pathlib.Path(__file__).parent / "hub_fixtures"

PROGRAM = """
import json, sys, time
from planetcd_jax.pairs import hub, open_dataset
from planetcd_jax.errors import PlanetCDError

options = json.loads(sys.argv[1])
for name, value in options.pop("patience", {}).items():
    setattr(hub, name, value)
if options.pop("small_pieces", False):
    import huggingface_hub.constants
    huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 512

fetch, waited = hub.fetch, []

def timed(*args, **kwargs):
    start = time.monotonic()
    try:
        return fetch(*args, **kwargs)
    finally:
        waited.append(time.monotonic() - start)

hub.fetch = timed
try:
    pairs = open_dataset(options.pop("name", "ctx"), **options)
    out = {"source": pairs.source, "n": len(pairs), "ids": pairs.ids[:2], "facts": pairs.provenance}
    if pairs.source == "real":
        out["mean"] = float(pairs.read(0).before.mean())
except PlanetCDError as err:
    out = {"error": type(err).__name__, "text": str(err)}
print(json.dumps({**out, "seconds": waited}))
"""

FORKS = """
import json, os, signal, sys, warnings
import planetcd_jax.pairs

assert "huggingface_hub" not in sys.modules  # which reads its settings when it is imported
for line in sys.stdin:
    job = json.loads(line)
    with warnings.catch_warnings(action="ignore"):  # JAX has been imported, but has no threads yet
        child = os.fork()
    if not child:
        signal.alarm(90)
        os.environ.clear()
        os.environ.update(job["env"])
        for number, name in enumerate(job["to"], 1):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv[1:] = job["arguments"]
        exec(job["program"], {"__name__": "__main__"})
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Runs programs one after the other, each in a process of its own that need not import the package and JAX anew."""


@functools.cache
def _forks():
    return subprocess.Popen([sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module", autouse=True)
def forks_end():
    yield
    if _forks.cache_info().currsize:
        _forks().communicate()
        _forks.cache_clear()


def _command(home, endpoint, options, **env):
    """The command line of `PROGRAM` and its environment."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()}
    env = {**clean, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", **env}
    env["XDG_CACHE_HOME"] = str(home / "own")
    return [sys.executable, "-c", PROGRAM, json.dumps(options or {})], env


def _run(home, endpoint, options=None, **env):
    (*_, program, arguments), env = _command(home, endpoint, options, **env)
    home.mkdir(exist_ok=True)
    out, err = home / "out.txt", home / "err.txt"
    job = {"program": program, "arguments": [arguments], "env": env, "to": [str(out), str(err)]}
    print(json.dumps(job), file=_forks().stdin, flush=True)
    status, said = _forks().stdout.readline(), err.read_text(encoding="utf-8")
    assert status == "0\n", said
    return {**json.loads(out.read_text(encoding="utf-8").splitlines()[-1]), "stderr": said}


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


@pytest.mark.slow
def test_fetches_a_split_records_commit_and_hashes_and_reuses_the_copy(tmp_path):
    (tmp_path / "made").mkdir()
    files = _repository(tmp_path / "made")
    hub = Hub(REPO, files)
    with serving(hub) as endpoint:
        got = _run(tmp_path / "home", endpoint)
        assert (got["source"], got["n"], got["ids"]) == ("real", 2, ["a_before", "b_before"]), got
        facts = got["facts"]
        assert (facts["commit"], facts["revision"], facts["repository"]) == (SHA, "main", REPO)
        # oracle: hashlib on the bytes that were served
        assert facts["sha256"] == {
            name: hashlib.sha256(body).hexdigest() for name, body in files.items() if "train" not in name
        }
        assert not any(
            "train" in r or hashlib.sha256(files["data/train/impact/c_before.png"]).hexdigest() in r
            for r in hub.requests
        )  # only the split that was asked for

        wrong = _run(tmp_path / "home", endpoint, {"revision": "nonsense"})
        assert wrong["error"] == "DataError" and "no revision 'nonsense'" in wrong["text"]

    again = _run(tmp_path / "home", endpoint)  # nobody listens there any more
    assert again["source"] == "real" and again["facts"]["commit"] == SHA and again["mean"] == got["mean"]
    assert "used the stored copy" in again["facts"]["notes"][0]
    offline = _run(tmp_path / "home", endpoint, HF_HUB_OFFLINE="1")
    assert offline["source"] == "real" and "HF_HUB_OFFLINE" in offline["facts"]["notes"][0]


@pytest.mark.slow
def test_a_repository_of_another_layout_is_not_taken_for_the_set(tmp_path):
    with serving(Hub(REPO, {"README.md": b"elsewhere", "data/test-00000.arrow": b"x"})) as endpoint:
        got = _run(tmp_path, endpoint)
        told = f"at commit {SHA}: its files: found README.md, data/test-00000.arrow; wanted annotation.csv and"
        assert got["source"] == "simulated" and told in got["facts"]["notes"][0]
        got = _run(tmp_path, endpoint, {"source": "real"})
        assert got["error"] == "HubUnreachable" and told in got["text"] and "<split>-*.parquet with" in got["text"]


@pytest.mark.slow
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
            hub.fetch("nobody/has-this", "main", choose=list)
    assert given == [hub.DEADLINE_S - 0.5, 1.0, 1.0]  # a second at least, however long the import took
    assert hub.DEADLINE_S + 1.0 < 5


@pytest.mark.slow
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


COMPOSITE = folder_files(FIXTURES / "composite")


@pytest.mark.parametrize("xet", [None, "works", "broken"], ids=["LFS", "Xet", "Xet store out of reach"])
def test_parquet_as_the_datasets_library_pushed_it(tmp_path, xet):
    hub = Hub(REPO, COMPOSITE, xet=xet)
    with serving(hub) as endpoint:
        got = _run(tmp_path, endpoint, {"source": "real"})
    assert (got["source"], got["n"], got["ids"]) == ("real", 6, ["test_00000", "test_00001"]), got
    assert got["facts"]["layout"] == "parquet" and got["facts"]["commit"] == SHA
    assert got["facts"]["composite"]["channels"] == {"red": "empty", "green": "after", "blue": "before"}
    # oracle: hashlib on the bytes that were served
    shards = [name for name in COMPOSITE if "/test-" in name]
    assert got["facts"]["sha256"] == {name: hashlib.sha256(COMPOSITE[name]).hexdigest() for name in shards}
    asked = " ".join(hub.requests)
    assert ("/xorb/" in asked) == (xet == "works") and ("/cdn/" in asked) == (xet != "works")
    assert hashlib.sha256(COMPOSITE["data/train-00000-of-00001.parquet"]).hexdigest() not in asked


def test_hirise_two_columns_and_validation_likewise(tmp_path):
    hub = Hub("Mirali33/mb-change_cls_hirise", folder_files(FIXTURES / "columns"))
    with serving(hub) as endpoint:
        got = _run(tmp_path, endpoint, {"name": "hirise_rsl", "source": "real", "split": "val"})
    assert (got["n"], got["ids"]) == (2, ["site_100", "site_101"]) and got["facts"]["split"] == "val"


def test_a_broken_download_goes_on_where_it_was_cut(tmp_path):
    shard = "data/test-00000-of-00002.parquet"
    hub = Hub(REPO, COMPOSITE, breaks={shard: 1})
    with serving(hub) as endpoint:
        got = _run(tmp_path, endpoint, {"source": "real", "small_pieces": True})
    assert got["n"] == 6 and got["facts"]["sha256"][shard] == hashlib.sha256(COMPOSITE[shard]).hexdigest()
    digest = hashlib.sha256(COMPOSITE[shard]).hexdigest()
    parts = [request for request in hub.requests if request.startswith(f"GET /cdn/{digest}")]
    assert len(parts) == 2 and 0 < int(parts[1].partition("bytes=")[2].rstrip("-")) <= len(COMPOSITE[shard]) // 2


@pytest.mark.slow
def test_a_killed_download_fetches_only_what_is_not_whole(tmp_path):
    """The hub's client keeps whole files, and begins a file anew that a killed process left half."""
    small, large = (f"data/test-0000{i}-of-00002.parquet" for i in (1, 0))
    bodies = {name: COMPOSITE[name] for name in (small, large)}
    hub = Hub(REPO, bodies, holds={large: threading.Event()})
    # A busy machine may not get to hear the hub within the usual 3.5 s.
    options = {"source": "real", "small_pieces": True, "patience": {"DEADLINE_S": 60.0}}
    with serving(hub) as endpoint:
        program, env = _command(tmp_path, endpoint, options)
        killed = subprocess.Popen(program, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not (_left_half(tmp_path) and _whole(tmp_path, small)):
                assert killed.poll() is None
                time.sleep(0.05)
        finally:
            killed.kill()
            killed.wait()
            hub.holds[large].set()
        assert _whole(tmp_path, small) and not _whole(tmp_path, large)
        asked = len(hub.requests)
        got = _run(tmp_path, endpoint, options)
    digests = {name: hashlib.sha256(body).hexdigest() for name, body in bodies.items()}
    assert got["n"] == 6 and got["facts"]["sha256"] == digests  # oracle: hashlib on the bytes that were served
    later = " ".join(hub.requests[asked:])
    assert f"GET /cdn/{digests[large]}" in later and f"GET /cdn/{digests[small]}" not in later


def _left_half(home):
    """Whether a download that is not whole has bytes."""
    return any(path.stat().st_size for path in home.rglob("*.incomplete"))


def _whole(home, name):
    return any(path.exists() for path in home.rglob(f"snapshots/*/{name}"))


@pytest.mark.slow
def test_a_slow_hub_is_waited_for_with_a_bar(tmp_path):
    hub = Hub(REPO, COMPOSITE, delay=2.5, pause=0.2)  # each answer comes later than a silent hub is given up
    with serving(hub) as endpoint:
        got = _run(tmp_path, endpoint, {"source": "auto", "patience": {"DEADLINE_S": 1.0, "_LEAST_S": 1.0}})
    assert (got["source"], got["n"]) == ("real", 6) and max(got["seconds"]) > 2.5
    assert "waiting for the hub" in got["stderr"] and "Fetching 2 files: 100%" in got["stderr"]


@pytest.mark.slow
def test_a_copy_that_is_not_whole_is_not_taken_for_the_set(tmp_path):
    with serving(Hub(REPO, COMPOSITE)) as endpoint:
        assert _run(tmp_path, endpoint, {"source": "real"})["n"] == 6
    assert _run(tmp_path, endpoint, {"source": "real"})["n"] == 6  # offline, whole
    train = _run(tmp_path, endpoint, {"source": "real", "split": "train"})  # offline, never fetched
    assert train["error"] == "HubUnreachable" and "no copy of it is stored here" in train["text"]
    shard = next(tmp_path.rglob("snapshots/*/data/test-00001-of-00002.parquet"))
    shard.unlink()
    half = _run(tmp_path, endpoint, {"source": "auto"})
    assert half["source"] == "simulated" and "SIMULATED" in half["facts"]["notes"][0]


@pytest.mark.slow
def test_what_the_hub_holds_but_nobody_can_read_falls_back_or_ends(tmp_path):
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"caption": ["a", "b"], "label": [0, 1]})
    parquet.write_table(table, tmp_path / "t.parquet")
    with serving(Hub(REPO, {"data/test-00000-of-00001.parquet": (tmp_path / "t.parquet").read_bytes()})) as endpoint:
        got = _run(tmp_path, endpoint)
        told = "no column of images; columns are caption (string), label (int64); wanted one column image"
        assert got["source"] == "simulated" and told in got["facts"]["notes"][0]
        got = _run(tmp_path, endpoint, {"source": "real"})
    assert told in got["text"] and "\n" not in got["text"]


FETCH = "import sys; from planetcd_jax import main; sys.exit(main.execute(sys.argv[1:]))"


def _fetch(home, endpoint, *flags):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING")) and "proxy" not in k.lower()}
    env = {**clean, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "XDG_CACHE_HOME": str(home / "own")}
    return subprocess.run([sys.executable, "-c", FETCH, *flags], capture_output=True, text=True, env=env, timeout=90)


@pytest.mark.slow
def test_fetch_tells_sizes_before_and_the_folder_after_and_keeps_checksums(tmp_path):
    with serving(Hub(REPO, COMPOSITE)) as endpoint:
        done = _fetch(tmp_path, endpoint, "--fetch=ctx")
        printed = " ".join(done.stdout.split())
        assert done.returncode == 0, done.stderr
        total = sum(map(len, COMPOSITE.values()))
        assert f"4 files, {total / 1000:.1f} kB: data/test-00000-of-00002.parquet (6.1 kB)" in printed
        folder = next(tmp_path.rglob(f"snapshots/{SHA}"))
        assert printed.index("4 files") < printed.index(str(folder))
        kept = next(tmp_path.rglob("*.sha256"))
        lines = dict(reversed(line.split("  ")) for line in kept.read_text().splitlines())
        wanted = {str(folder / name): hashlib.sha256(body).hexdigest() for name, body in COMPOSITE.items()}
        assert lines == wanted and str(kept) in printed  # oracle: hashlib on the bytes that were served
    assert _run(tmp_path, endpoint, {"split": "all", "source": "real"})["n"] == 12  # nobody listens any more
    again = _fetch(tmp_path, endpoint, "--fetch=ctx")
    assert again.returncode == 0 and "used the stored copy" in " ".join(again.stdout.split())
    blob = (folder / "data/val-00000-of-00001.parquet").resolve()
    blob.write_bytes(b"altered")
    altered = _fetch(tmp_path, endpoint, "--fetch=ctx")
    assert altered.returncode == 1 and "not as fetched before" in altered.stderr and altered.stderr.count("\n") == 1


def test_what_is_on_no_hub_is_told_in_one_line(capsys):
    from planetcd_jax import main

    assert main.execute(["--fetch=lroc"]) == 1
    told = capsys.readouterr().err
    assert "lroc is on no hub; name your own folder by --data_dir" in told and told.count("\n") == 1


@pytest.mark.slow
def test_the_first_command_runs_on_the_real_pairs_and_says_which_they_are(tmp_path):
    flags = ["--dataset=ctx", "--method=rcva", "--num_devices=1", "--figures=0", f"--output_dir={tmp_path / 'out'}"]
    with serving(Hub(REPO, COMPOSITE, xet="works")) as endpoint:
        done = _fetch(tmp_path, endpoint, *flags)
    assert done.returncode == 0, done.stderr
    printed = " ".join(done.stdout.split())
    assert "SIMULATED" not in printed and "Mars-Bench test, 6 pairs where 10 are published, real data" in printed
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["source"] == "real" and metrics["n_labelled"] == 6
    assert metrics["provenance"]["composite"]["channels"] == {"red": "empty", "green": "after", "blue": "before"}
    assert metrics["provenance"]["commit"] == SHA
