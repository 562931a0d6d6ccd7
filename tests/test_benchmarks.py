"""The benchmark harness: what it times, in which order, and what its table says."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import __main__ as runner
from benchmarks.harness import Row, Timing, compare_speed, interleave
from scripts.machine_speed import limit

ROOT = Path(__file__).resolve().parents[1]


def test_calls_alternate_after_a_warm_up_and_a_calibration_of_each():
    calls = []

    def slow(name):
        calls.append(name)
        time.sleep(0.021)  # above the shortest sample, so that one call makes one sample

    timings = interleave({"a": lambda: slow("a"), "b": lambda: slow("b")}, repeat=3)
    assert calls == ["a", "a", "b", "b"] + ["a", "b"] * 3
    assert [len(t.samples) for t in timings.values()] == [3, 3]
    # sleep never returns early, so a sample below its length would be a wrong division
    assert all(t.minimum >= 0.021 for t in timings.values())


def test_short_work_is_repeated_and_divided():
    calls = []

    def short():
        calls.append(1)
        time.sleep(0.001)

    timing = interleave({"short": short}, repeat=2)["short"]
    assert len(calls) > 2 + 2 * 2
    assert 0.001 <= timing.median < 0.01


def test_ratio_is_of_medians_and_a_missed_promise_is_said():
    ours, theirs = Timing((1.0, 2.0, 30.0)), Timing((8.0, 8.0, 0.5))
    row = Row("work", ours, "peer", theirs, target=4.0)
    assert row.ratio == 4.0
    assert not row.missed
    assert Row("work", ours, "peer", theirs, target=4.1).missed
    text = runner.table([row, Row("other", ours, "peer", theirs, target=4.1)])
    assert "MISSED" not in text.splitlines()[2]
    assert text.splitlines()[3].endswith("4.1x MISSED")


def test_a_faster_peer_gives_a_ratio_below_one():
    rows = compare_speed(
        "sleep",
        {"ours": lambda: time.sleep(0.03), "fast": lambda: None, "slow": lambda: time.sleep(0.09)},
        target={"slow": 2.0},
        repeat=3,
    )
    assert [row.peer for row in rows] == ["fast", "slow"]
    assert rows[0].ratio < 0.1
    assert rows[0].target is None
    # 3 in theory; the bounds leave room for a busy machine and still reject a swapped ratio
    assert 1.5 < rows[1].ratio < 6


@pytest.mark.parametrize("functions, repeat", [({}, 3), ({"a": int}, 0)])
def test_nothing_to_time_is_refused(functions, repeat):
    with pytest.raises(ValueError, match="nothing to time"):
        interleave(functions, repeat)


def test_a_comparison_needs_a_peer():
    with pytest.raises(ValueError, match="needs a peer"):
        compare_speed("alone", {"ours": int})


def test_the_machine_is_described():
    text = runner.machine(2)
    assert "cores" in text
    assert "numpy" in text
    assert "2 threads" in text


def test_an_unknown_name_lists_the_known_ones():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "no-such-benchmark"],
        cwd=ROOT, capture_output=True, text=True, timeout=limit(60),
    )  # fmt: skip
    assert done.returncode == 2
    assert "no benchmark matches" in done.stderr
