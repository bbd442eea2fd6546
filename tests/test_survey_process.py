"""The process that scores pair after pair: it is kept, and what a pair does to it is no other pair's failure.

And Ctrl-C at a terminal, which reaches all processes at once.
"""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys

import psutil
import pytest
from survey_work import ROOT, STANDIN, lines, task

from planetcd_jax.surveys import scene_process, serving
from planetcd_jax.surveys.attempt import score_pair

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def ended():
    scene_process.end_process()
    yield
    scene_process.end_process()


def processes(folder):
    return {line.partition("=")[0]: int(line.partition("=")[2]) for line in lines(folder, "PROCESSES")}


def test_one_process_scores_pairs_until_its_number_is_full(tmp_path):
    for n in range(5):
        assert score_pair(task(tmp_path, f"p{n}", most=3)).state == "done"
    number = processes(tmp_path)
    assert number["p0"] == number["p1"] == number["p2"] != number["p3"] == number["p4"]
    assert not psutil.pid_exists(number["p0"]) and psutil.pid_exists(number["p4"])
    scene_process.end_process()
    assert not psutil.pid_exists(number["p4"])


def test_an_error_that_a_pair_tells_leaves_its_process(tmp_path):
    states = [score_pair(task(tmp_path, name, most=9)) for name in ("p1", "bad2", "p3")]
    assert [x.state for x in states] == ["done", "failed", "done"]
    assert states[1].error == "planetcd-scene: /images/bad2.tif cannot be read; fetch it again."
    number = processes(tmp_path)
    assert number["p1"] == number["p3"] and lines(tmp_path, "STARTED")["bad2"] == 1


@pytest.mark.parametrize(
    ("name", "limits", "said"),
    [
        ("crash2", {}, "its process was killed by SIGSEGV"),
        ("broken2", {}, "RuntimeError: something that nobody foresaw"),
        ("fat2", {"memory_mb": 250.0}, "more than --memory_limit=250 MB, and was ended"),
        ("hang2", {"seconds": 2.0}, "it took longer than --time_limit=2 s and was ended"),
    ],
)
def test_a_pair_that_ends_its_process_is_tried_in_a_fresh_one_and_costs_no_other(tmp_path, name, limits, said):
    first, second, third = (score_pair(task(tmp_path, x, most=9, **limits)) for x in ("p1", name, "p3"))
    assert (first.state, second.state, third.state) == ("done", "failed", "done") and said in second.error
    assert lines(tmp_path, "STARTED") == {"p1": 1, name: 1 if name == "hang2" else 2, "p3": 1}
    number = processes(tmp_path)
    assert number["p1"] != number["p3"] and not psutil.pid_exists(number["p1"])


def test_memory_that_others_left_behind_is_no_failure(tmp_path):
    outcomes = [score_pair(task(tmp_path, f"leak{n}", most=9, memory_mb=400.0)) for n in range(4)]
    assert [x.state for x in outcomes] == ["done"] * 4 and lines(tmp_path, "DONE") == {f"leak{n}": 1 for n in range(4)}
    assert len(set(processes(tmp_path).values())) == 2  # two have room in one process, the third ends it


def test_what_a_pair_took_is_its_own(tmp_path):
    first, second = (score_pair(task(tmp_path, name, most=9)) for name in ("slow1", "slow2"))
    assert 0 < second.cpu_seconds < first.cpu_seconds and second.memory_mb > 5


def test_a_process_that_nobody_asks_ends_and_is_replaced(tmp_path):
    score_pair(task(tmp_path, "p1", most=9))
    (number,) = processes(tmp_path).values()
    os.kill(number, signal.SIGTERM)  # as one that was idle for long
    psutil.wait_procs([psutil.Process(number)], timeout=20) if psutil.pid_exists(number) else None
    assert score_pair(task(tmp_path, "p2", most=9)).state == "done" and len(set(processes(tmp_path).values())) == 2
    assert serving.IDLE_S > 0


def test_it_ends_with_its_worker_and_gives_the_lock_back(tmp_path):
    program = (
        "import sys; sys.path[:0] = sys.argv[1:3]; from survey_work import task; import pathlib\n"
        "from planetcd_jax.surveys.attempt import score_pair\n"
        "score_pair(task(pathlib.Path(sys.argv[3]), 'p1', most=9)); print('ready', flush=True)\n"
        "score_pair(task(pathlib.Path(sys.argv[3]), 'hang2', most=9))"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program, os.fspath(ROOT), os.fspath(ROOT / "tests"), os.fspath(tmp_path)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
    while "hang2" not in lines(tmp_path, "STARTED"):
        assert worker.poll() is None
    (child,) = psutil.Process(worker.pid).children()
    assert score_pair(task(tmp_path, "hang2", most=9)).state == "busy"
    worker.kill()
    worker.wait()
    worker.stdout.close()
    assert psutil.wait_procs([child], timeout=30)[1] == []
    assert score_pair(task(tmp_path, "hang2", seconds=0.3)).state == "failed"  # its lock is free


def test_ctrl_c_at_a_terminal_is_one_line_and_leaves_no_table(tmp_path):
    table, (ours, its) = tmp_path / "pairs.csv", pty.openpty()
    table.write_text("id,before,after\n" + "".join(f"slow{i},slow{i}.tif,b.tif\n" for i in range(99)))
    become = (
        "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "signal.signal(signal.SIGINT, signal.SIG_DFL); "  # a shell's background job ignores it
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    run = [sys.executable, "-m", "planetcd_jax.survey", "run", os.fspath(table), f"--output_dir={tmp_path / 'S'}",
           "--workers=2", f"--program={' '.join(STANDIN)}"]  # fmt: skip
    terminal = {"stdin": its, "stdout": its, "stderr": its, "start_new_session": True, "cwd": ROOT}
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen([sys.executable, "-c", become, *run], env=environment, **terminal) as client:
        os.close(its)
        said, asked = b"", False
        with contextlib.suppress(OSError):  # Linux says so when the last process has closed the terminal
            while part := os.read(ours, 65536):
                said += part
                if not asked and lines(tmp_path / "S", "DONE").total():
                    os.write(ours, b"\x03")
                    asked = True
    os.close(ours)
    text = said.decode()
    assert client.returncode == 130 and "with workers" in text and "starting" in text
    assert "Traceback" not in text and "KeyboardInterrupt" not in text
    last = text[text.rindex("dashboard") :]
    assert last.count("\x1b[2K") >= 11  # each line of the table is taken away
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", last).split("\n")[-2].strip()
    assert plain == "planetcd-survey: interrupted; repeat the command to go on."
