"""Damaged files end in one line that names them, or in whole results; `mutate_files.py` runs more of them."""

import mutate_files
import pytest

pytestmark = pytest.mark.slow

GROUPS = 9


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    ground = mutate_files.Ground(tmp_path_factory.mktemp("mutated"), real=False)
    yield ground
    ground.close()


@pytest.mark.parametrize("group", range(GROUPS))
def test_damaged_files_are_told(ground, group):
    assert len(ground.wholes) >= 15
    problems = [line for number in range(4 * group, 4 * group + 4) for line in ground.check(number, seed=2026)]
    assert problems == []
