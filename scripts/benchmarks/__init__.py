"""The parts of `scripts/benchmark.py`: work, contestants, the processes that they run in, and what is written."""
