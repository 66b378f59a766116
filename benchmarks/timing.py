"""How the benchmarks take time and memory."""

import math
import multiprocessing
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

RESET = Path("/proc/self/clear_refs")


class Measure(NamedTuple):
    """A figure that is not in seconds."""

    value: float
    unit: str


class Times(NamedTuple):
    """How long a call takes, and what it gave last.

    Attributes:
        wall: Seconds by the clock.
        processor: Seconds that all threads of the process computed: other programs matter
            less to it, waiting for the disk does not count.
        result: What the last call gave.
    """

    wall: float
    processor: float
    result: object


def median_seconds(work: Callable[[], object], runs: int = 5) -> float:
    """Median wall time of a call, after one warm-up."""
    work()
    return statistics.median(best_of(work)[0] for _ in range(runs))


def best_seconds(work: Callable[[], object], runs: int = 3) -> float:
    """Shortest wall time of a long call: the one that other programs disturbed least."""
    return best_of(*[work] * runs)[0]


def best_of(*works: Callable[[], object]) -> tuple[float, list]:
    """Shortest wall time of calls that take equally long, and what each gave."""
    seconds, results = [], []
    for work in works:
        started = time.perf_counter()
        results.append(work())
        seconds.append(time.perf_counter() - started)
    return min(seconds), results


def in_turns(*works: Callable[[], object], runs: int) -> list[Times]:
    """Median times of calls that are to be compared, after a warm-up.

    They take turns, so that a machine that other programs load changes all alike.
    """
    found = [[_timed(work) for work in works] for _ in range(1 + runs)][1:]
    return [
        Times(
            statistics.median(run.wall for run in same),
            statistics.median(run.processor for run in same),
            same[-1].result,
        )
        for same in zip(*found, strict=True)
    ]


def _timed(work: Callable[[], object]) -> Times:
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return Times(time.perf_counter() - clock, time.process_time() - processor, result)


def peak_memory(prepare: Callable[[], object], work: Callable[[object], object]) -> Measure:
    """By how much a call raises a fresh process's memory at most, its input not counted.

    Linux alone tells; elsewhere the figure is not a number.

    Args:
        prepare: Makes the input (a function of a module: it is sent to the process).
        work: Takes it.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return Measure(pool.submit(_raised_peak, prepare, work).result(), "MiB")


def _raised_peak(prepare: Callable[[], object], work: Callable[[object], object]) -> float:
    given = prepare()
    if not RESET.exists():
        return math.nan
    RESET.write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    work(given)
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    """A figure in KiB that the kernel keeps of this process."""
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
