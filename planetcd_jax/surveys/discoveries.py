"""False discovery rate over a survey while its scenes come: what is called a discovery stays one.

Source: T. Zrnic, D. Jiang, A. Ramdas, M. Jordan, "The Power of Batching in Multiple Hypothesis Testing", AISTATS 2020,
algorithm BatchBH: each scene is a batch to which Benjamini-Hochberg is applied at a level that depends on what the
earlier scenes spent and found. It holds the rate at every time if p-values of unchanged windows are independent of each
other and of the earlier scenes. Windows that overlap are not, so it is a guide here.
"""

import math
from collections.abc import Sequence

import numpy as np

# Sum of 1 / (n log(n)^2) over n >= 2, so that what all scenes may spend is one.
_SUM = 2.109742801


def share(number: int) -> float:
    """Part of the rate that scene `number`, counted from 1, adds to what may be spent."""
    return 1.0 / (_SUM * (number + 1) * math.log(number + 1) ** 2)


def rejections(p_values: np.ndarray, tests: int, level: float) -> int:
    """How many p-values Benjamini-Hochberg takes at a level, of `tests` of which only the smallest are told."""
    ordered = np.sort(p_values)
    below = np.flatnonzero(ordered <= level * np.arange(1, len(ordered) + 1) / max(tests, 1))
    return int(below[-1]) + 1 if below.size and level > 0 else 0


class BatchBH:
    """The procedure, fed scene by scene.

    Attributes:
        rate: Wanted false discovery rate.
        scenes: Scenes so far.
        found: Discoveries so far.
    """

    def __init__(self, rate: float):
        self.rate, self.scenes, self.found, self._spent = rate, 0, 0, 0.0
        # Each scene looks at all earlier ones, of which only this differs: how many discoveries it might have had more
        # than it has. Levels times most discoveries are summed by that, so that 100,000 scenes cost no square of it.
        self._used: dict[int, float] = {}

    def take(self, p_values: Sequence[float], tests: int) -> tuple[int, float]:
        """Discoveries among the places of the next scene, the smallest p-values first, and the level they were held to.

        Args:
            p_values: Of its places.
            tests: Windows of the scene; those that are no place count with p = 1.
        """
        self.scenes += 1
        self._spent += share(self.scenes) * self.rate
        p = np.sort(np.asarray(p_values, float))
        tests = max(tests, len(p), 1)
        used = sum(weight / (more + self.found) for more, weight in self._used.items())
        level = max(0.0, (self._spent - used) * (tests + self.found) / tests)
        count = rejections(p, tests, level)
        with_a_zero = np.concatenate([[0.0], p if len(p) < tests else p[:-1]])
        most = max(1, rejections(with_a_zero, tests, level))
        self._used[most - count] = self._used.get(most - count, 0.0) + level * most
        self.found += count
        return count, level
