"""Surveys: the ledger, one attempt with its limits, and a run whose workers are killed, hang and starve."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from survey_work import ROOT, STANDIN, lines, pairs, task

from planetcd_jax import survey
from planetcd_jax.errors import ConfigError, DataError
from planetcd_jax.surveys import attempt, ledger, pair_table, progress, shards
from planetcd_jax.surveys.attempt import score_pair
from planetcd_jax.surveys.engine import Survey, reconcile
from planetcd_jax.surveys.ledger import Ledger, Outcome
from planetcd_jax.surveys.limits import Limits
from planetcd_jax.surveys.pair_table import Pair
from planetcd_jax.surveys.workers import Workers

pytestmark = pytest.mark.slow


@pytest.fixture
def book(tmp_path):
    opened = Ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


def test_a_table_of_pairs_is_read_with_its_own_ids_and_paths(tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text("before,after,light,id\na.tif,sub/b.tif,3.5,\n/x/c.tif,https://host/d.tif,,own-1\n")
    first, second = pair_table.read_pairs(table)
    assert (first.before, first.after) == (str(tmp_path / "a.tif"), str(tmp_path / "sub" / "b.tif"))
    assert first.id == pair_table.pair_id(first.before, first.after) and first.facts == {"light": "3.5"}
    assert second == Pair("own-1", "/x/c.tif", "https://host/d.tif", {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("before,after\n", "holds no pair"),
        ("a,b\n1,2\n", "no column 'before'"),
        ("before,after\na.tif,\n", "line 2: after is empty"),
        ("before,after,id\na,b,../x\n", "no name for a folder"),
        ("before,after,id\na,b,x\nc,d,x\n", "two pairs 'x'"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path, text, said):
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        pair_table.read_pairs(tmp_path / "pairs.csv")
    assert "\n" not in str(caught.value)


def test_shards_are_parts_without_overlap_that_new_pairs_do_not_move():
    many = pairs(*(f"p{i}" for i in range(200)))
    parts = [shards.part(many, (i, 4)) for i in range(1, 5)]
    assert sorted(p.id for part in parts for p in part) == sorted(p.id for p in many)
    assert shards.part([*many, *pairs("new")], (1, 4))[: len(parts[0])] == parts[0]


def test_three_failures_set_a_pair_aside_and_retry_frees_it(book):
    book.add(pairs("a", "b"))
    book.beat()
    for n in range(3):
        assert [p.id for p in book.claim(9)] == ["a", "b"] if n == 0 else ["a"]
        book.settle([Outcome("a", "failed", f"no. {n}"), *([Outcome("b", "done", run="r")] if n == 0 else [])])
    counts = book.counts()
    assert (counts["set aside"], counts["done"], counts["failures"]) == (1, 1, 3) and book.claim(9) == []
    assert book.retry(["other"]) == 0 and book.retry(since=time.time() + 60) == 0 and book.retry() == 1
    assert [p.id for p in book.claim(9)] == ["a"]


def test_a_result_is_counted_once_and_failures_of_a_lost_claim_not_at_all(book):
    other = Ledger(book.path)
    book.add(pairs("a", "b"))
    book.beat(), other.beat()
    assert len(book.claim(2)) == 2 and other.claim(2) == [] and other.claimed_by_others() == 2
    book.release(["a"])
    assert [p.id for p in other.claim(2)] == ["a"]
    book.settle([Outcome("a", "failed", "late")])  # not this client's any more
    assert book.counts()["claimed"] == 2 and book.counts()["failures"] == 0
    for one in (other, book):
        one.settle([Outcome("a", "done", seconds=2.0)], {"a": ({"n": 1}, [{"rank": 1}])})
    assert book.counts()["done"] == 1 and len(list(book.scenes())) == 1 and len(book.ends()) == 1
    other.close()


def test_pairs_of_a_client_that_died_are_free_again(book, monkeypatch):
    program = (
        "import sys, pathlib; from planetcd_jax.surveys.ledger import Ledger; b = Ledger(pathlib.Path(sys.argv[1]));"
        "b.beat(); print(len(b.claim(5)), flush=True); import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    )
    book.add(pairs("a", "b"))
    done = subprocess.run(
        [sys.executable, "-c", program, os.fspath(book.path)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == -signal.SIGKILL and done.stdout == "2\n" and book.claim(5) == []
    book.beat()
    assert len(book.claim(5)) == 2
    far = Ledger(book.path)
    monkeypatch.setattr(ledger.socket, "gethostname", lambda: "elsewhere")
    far.beat()  # from another machine this client is known by its heartbeat alone
    assert far.claim(5) == []
    monkeypatch.setattr(ledger.time, "time", lambda: time.monotonic() + 1e10)
    far.beat()
    assert len(far.claim(5)) == 2
    far.close()


def test_a_clock_that_is_set_takes_no_pairs_from_a_client_that_lives(book, monkeypatch):
    book.add(pairs("a", "b"))
    book.beat()
    assert len(book.claim(5)) == 2
    other, real = Ledger(book.path), psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: real(process) + 600.0)
    book.beat()
    other.beat()
    assert book.counts()["claimed"] == 2 and other.claim(5) == []
    other.close()


def test_another_file_is_told_from_a_ledger(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database, but long enough to look at" * 50)
    with pytest.raises(DataError, match="is no ledger"):
        Ledger(tmp_path / "ledger.sqlite")


def test_an_attempt_leaves_its_results_whole_and_is_not_made_twice(tmp_path):
    first, again = score_pair(task(tmp_path, "p1")), score_pair(task(tmp_path, "p1"))
    assert (first.state, first.run, first.error) == ("done", "p1", "") and first.seconds > 0 and first.memory_mb > 5
    assert (again.state, again.run, again.seconds) == ("done", "p1", 0.0) and lines(tmp_path, "STARTED") == {"p1": 1}
    assert not task(tmp_path, "p1").work.exists()


@pytest.mark.parametrize(
    ("name", "limits", "said"),
    [
        ("bad1", {}, "planetcd-scene: /images/bad1.tif cannot be read; fetch it again."),
        ("hang1", {"seconds": 0.4}, "it took longer than --time_limit=0.4 s and was ended"),
        ("fat1", {"memory_mb": 250.0}, "more than --memory_limit=250 MB, and was ended"),
        ("crash1", {}, "its process was killed by SIGSEGV"),
    ],
)
def test_what_goes_wrong_is_one_line(tmp_path, name, limits, said):
    outcome = score_pair(task(tmp_path, name, **limits))
    assert outcome.state == "failed" and said in outcome.error and "\n" not in outcome.error
    assert not task(tmp_path, name).outcome.exists()
    assert [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])] == []


def test_a_full_disk_is_no_failure_of_the_pair(tmp_path, monkeypatch):
    monkeypatch.setattr(attempt, "NEEDED_BYTES", 2**60)
    assert score_pair(task(tmp_path, "bad1")).state == "no room"


def test_two_attempts_at_once_are_one(tmp_path):
    outcomes = []
    both = [threading.Thread(target=lambda: outcomes.append(score_pair(task(tmp_path, "slow1")))) for _ in range(2)]
    for thread in both:
        thread.start()
        time.sleep(0.3)
    for thread in both:
        thread.join()
    assert sorted(x.state for x in outcomes) == ["busy", "done"] and lines(tmp_path, "STARTED") == {"slow1": 1}


def test_results_that_a_killed_worker_left_are_put_in_place(tmp_path):
    one = task(tmp_path, "p1")
    (one.work / "scene").mkdir(parents=True)
    (one.work / "scene" / "run.json").write_text('{"run": "left"}')
    assert score_pair(one).run == "left" and attempt.is_whole(one.outcome) and not lines(tmp_path, "STARTED")


def test_the_process_of_a_pair_ends_with_its_worker(tmp_path):
    program = (
        "import sys; sys.path[:0] = sys.argv[1:3]; from survey_work import task; import pathlib\n"
        "from planetcd_jax.surveys.attempt import score_pair; score_pair(task(pathlib.Path(sys.argv[3]), 'hang1'))"
    )
    folders = [os.fspath(path) for path in (ROOT, ROOT / "tests", tmp_path)]
    worker = subprocess.Popen([sys.executable, "-c", program, *folders])
    while not lines(tmp_path, "STARTED"):
        time.sleep(0.05)
    (child,) = psutil.Process(worker.pid).children()
    worker.kill()
    worker.wait()
    assert psutil.wait_procs([child], timeout=10)[1] == []
    assert score_pair(task(tmp_path, "hang1", seconds=0.3)).state == "failed"  # its lock is free


def test_a_lost_ledger_is_made_anew_from_the_folders(tmp_path, book):
    score_pair(task(tmp_path, "p1"))
    book.add(pairs("p1", "p2"))
    assert reconcile(book, tmp_path) == 1
    assert [(row["id"], row["state"], row["run"]) for row in book.pairs()] == [
        ("p1", "done", "p1"),
        ("p2", "waiting", None),
    ]


NAMES = (
    "bad1",
    "crash2",
    "hang3",
    "fat4",
    "once5",
    *(f"p{i}" for i in range(6, 30)),
    *(f"slow{i}" for i in range(30, 34)),
)


def test_a_run_survives_workers_that_are_killed_hang_and_starve(tmp_path):
    book = Ledger(tmp_path / "ledger.sqlite")
    book.add(pairs(*NAMES))
    killed, over = [], threading.Event()

    def kill_workers():
        while not over.wait(1.5) and len(killed) < 3:
            with contextlib.suppress(psutil.Error):  # processes of pairs come and go
                if lines(tmp_path, "DONE"):
                    children = psutil.Process().children(recursive=True)
                    workers = [p for p in children if "spawn_main" in " ".join(p.cmdline())]
                    workers[len(killed) % len(workers)].kill()
                    killed.append(len(workers))

    killer = threading.Thread(target=kill_workers, daemon=True)
    killer.start()
    limits = Limits(seconds=4.0, memory_mb=250.0)  # a busy machine takes a second for what takes none
    try:
        counts = Survey(tmp_path, book, STANDIN, Workers(count=2, limits=limits)).run()
    finally:
        over.set()
    killer.join()
    assert killed and counts["done"] == len(NAMES) - 4 and counts["set aside"] == 4
    failed = {row["id"]: row["error"] for row in book.pairs("set aside")}
    assert set(failed) == {"bad1", "crash2", "hang3", "fat4"} and all(failed.values())
    assert set(lines(tmp_path, "DONE").values()) == {1}  # nothing lost, nothing done twice
    left = [path for path in (tmp_path / "work").iterdir() if path.name not in failed]
    assert left == []
    book.close()
    assert "29 of 33 pairs done" in progress.status(tmp_path) and "hang3: it took longer" in progress.status(tmp_path)


def command(table, folder, *more):
    program = " ".join(STANDIN)
    return [sys.executable, "-m", "planetcd_jax.survey", "run", os.fspath(table), f"--output_dir={folder}",
            f"--program={program}", "--workers=1", *more]  # fmt: skip


def test_a_killed_client_goes_on_and_two_at_once_share_the_work(tmp_path):
    table, folder = tmp_path / "pairs.csv", tmp_path / "S"
    table.write_text("id,before,after\n" + "".join(f"slow{i},slow{i}.tif,b.tif\n" for i in range(6)))
    first = subprocess.Popen(command(table, folder), cwd=ROOT, stderr=subprocess.DEVNULL)
    while sum(lines(folder, "DONE").values()) < 2:
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    first.wait()
    both = [
        subprocess.Popen(command(table, folder), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert all("6 of 6 pairs done, 0 set aside" in out for out, _ in ends)
    assert lines(folder, "DONE") == {f"slow{i}": 1 for i in range(6)}
    runs = sorted(json.loads(path.read_text())["run"] for path in folder.glob("scenes/*/*/run.json"))
    assert runs == [f"slow{i}" for i in range(6)] and os.listdir(folder / "work") == []


def test_errors_of_the_command_line_are_one_line(tmp_path, capsys):
    table = tmp_path / "pairs.csv"
    table.write_text("before,after\na,b\n")
    there = tmp_path / "there"
    Ledger(there / "ledger.sqlite").close()
    cases = {
        ("statu", "S"): (2, "'statu' is no command; give one of"),
        ("run",): (1, "name the table of pairs"),
        ("run", str(table)): (1, "--output_dir is missing"),
        ("run", str(table), "--output_dir=x", "--shard=3/2"): (1, "--shard=3/2: give i/n"),
        ("run", str(table), "--output_dir=x", "--scene=windo=3"): (1, "--scene: Unknown command line flag 'windo'"),
        ("run", str(table), "--output_dir=x", "--scene=resume"): (1, "sets this flag itself"),
        ("status", str(tmp_path)): (1, "holds no ledger"),
        ("retry", str(tmp_path)): (1, "holds no ledger"),
        ("retry", str(there)): (1, "say which pairs"),
        ("retry", str(there), "--since=soon"): (1, "--since=soon: give a date"),
        ("catalogue", str(there), "--fdr=2"): (1, "--fdr=2: give a share"),
    }
    for arguments, (status, said) in cases.items():
        assert survey.execute(arguments) == status
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    assert not (tmp_path / "x").exists()


def test_a_survey_is_scored_in_one_way(tmp_path):
    shards.agree(tmp_path, ("python", "--window=64"))
    shards.agree(tmp_path, ("python3", "--window=64"))
    with pytest.raises(ConfigError, match="was begun with --window=64 .* now --window=100"):
        shards.agree(tmp_path, ("python", "--window=100"))
