"""The training loop: it learns, stops early, keeps the best epoch, and a killed run ends as an unbroken one."""

import os
import pathlib
import signal
import subprocess
import sys

import jax
import killed_training
import numpy as np
import pytest
from killed_training import SCHEDULE, STEPS_PER_EPOCH, run

import planetcd_jax
from planetcd_jax.baselines import training
from planetcd_jax.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def unbroken():
    return run()


def assert_same(got, wanted):
    for one, two in zip(jax.tree.leaves(got.last), jax.tree.leaves(wanted.last), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-6)
    for curve in ("train", "validation"):
        assert got.history[curve] == pytest.approx(wanted.history[curve], abs=1e-6)
    assert got.history["best_epoch"] == wanted.history["best_epoch"]


def test_training_lowers_the_loss_and_keeps_the_best_epoch(unbroken):
    history = unbroken.history
    assert len(history["train"]) == SCHEDULE.max_epochs == int(unbroken.last.step) / STEPS_PER_EPOCH
    assert history["train"][-1] < 0.7 * history["train"][0]
    assert history["best_epoch"] == int(np.argmin(history["validation"]))
    loss, _, _, _, validation = killed_training.problem()
    losses, _ = loss(unbroken.params, unbroken.stats, validation.arrays, jax.random.key(0), False)
    assert float(losses.mean()) == pytest.approx(min(history["validation"]), abs=1e-6)


def test_every_example_is_seen_once_an_epoch_and_the_order_changes():
    epochs = [[training._indices(3, step, 37, 8) for step in range(e * 5, e * 5 + 5)] for e in (0, 1)]
    for steps in epochs:
        seen = np.concatenate(steps)
        assert sorted(seen[:37]) == list(range(37))
        np.testing.assert_array_equal(seen[37:], seen[:3])  # the last step is filled from the start
    assert not np.array_equal(epochs[0], epochs[1])


class Interrupted(Exception):
    """Stands for whatever ends a run."""


def test_a_run_interrupted_twice_ends_as_an_unbroken_one(unbroken, tmp_path):
    done = []

    def interrupt(step):
        done.append(step)
        if step in (6, 10):  # within an epoch, and at the end of one
            raise Interrupted

    for _ in range(2):
        with pytest.raises(Interrupted):
            run(tmp_path, interrupt)
    assert_same(run(tmp_path, interrupt), unbroken)
    assert done == sorted(set(done))  # nothing was done twice
    assert_same(run(tmp_path, interrupt), unbroken)  # finished: nothing more to do
    assert done[-1] == SCHEDULE.max_epochs * STEPS_PER_EPOCH


@pytest.mark.slow
def test_a_killed_process_is_taken_up_again(unbroken, tmp_path):
    root = pathlib.Path(planetcd_jax.__file__).parents[1]
    program = subprocess.Popen(
        [sys.executable, killed_training.__file__, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    with program:
        for line in program.stdout:
            if int(line.split()[1]) >= 9:
                program.send_signal(signal.SIGKILL)
                break
    assert program.returncode == -signal.SIGKILL
    steps = []
    assert_same(run(tmp_path / "run", steps.append), unbroken)
    assert steps[0] > 6


def test_early_stopping(tmp_path):
    hopeless = SCHEDULE._replace(learning_rate=1e-12, max_epochs=50, patience=2)
    problem = killed_training.problem()

    def worse(params, stats, batch, key, train):
        losses, stats = problem.loss_fn(params, stats, batch, key, train)
        return losses + 100 * np.float32(not train) * abs(stats["mean"]).sum(), stats

    done = training.train(problem._replace(loss_fn=worse), hopeless)
    assert len(done.history["validation"]) < 50
    assert len(done.history["validation"]) - 1 - done.history["best_epoch"] == 2


def test_other_settings_do_not_go_on_from_old_ones(tmp_path):
    short = SCHEDULE._replace(max_epochs=1)
    run(tmp_path, schedule=short)
    with pytest.raises(ConfigError, match=r"other settings \(learning_rate, seed\); resume with the same ones"):
        run(tmp_path, schedule=short._replace(seed=6, learning_rate=0.1))


def test_a_loss_that_is_not_finite_ends_the_run():
    problem = killed_training.problem()
    problem.data.arrays[0][5] = np.nan
    with pytest.raises(DataError, match="the loss is not finite after step 5; lower the learning rate"):
        training.train(problem, SCHEDULE)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"width": 1.5}, "width is 1.5"),
        ({"dropout": 1}, "dropout is 1"),
        ({"last_stage": "mixed11"}, "last_stage is 'mixed11'"),
    ],
)
def test_settings_out_of_their_domain(option, text):
    with pytest.raises(ConfigError, match=text):
        training.TrainConfig(**option)


def test_data_of_unequal_length():
    with pytest.raises(DataError, match=r"arrays hold \[3, 2\] examples"):
        training.ArrayData(np.zeros(3), np.zeros(2))
