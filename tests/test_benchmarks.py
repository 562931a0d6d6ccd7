"""The benchmark harness: what it times, in which order, and what its table says."""

import subprocess
import sys
import time
import types
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import __main__ as runner
from benchmarks import harness
from benchmarks.harness import Row, Timing, compare_speed, interleave
from recsys_tutorial import datasets
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


def test_short_work_is_repeated_and_divided(monkeypatch):
    calls = []
    # A clock that only the work moves: a busy machine's clock moves meanwhile too.
    monkeypatch.setattr(harness.time, "perf_counter", lambda: 0.001 * len(calls))
    timing = interleave({"short": lambda: calls.append(1)}, repeat=2)["short"]
    assert len(calls) == 2 + 2 * round(harness.SHORTEST_SAMPLE / 0.001)
    assert timing.samples == pytest.approx((0.001, 0.001))


@pytest.fixture
def planted(monkeypatch, tmp_path):
    """A benchmark that writes a file, and a data folder of its own."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "runs.csv").write_text("1\n")
    target = tmp_path / "elsewhere.csv"
    module = types.ModuleType("benchmarks.bench_planted")
    module.run = lambda: (
        target.write_text("2\n") and [Row("work", Timing((1.0,)), "peer", Timing((2.0,)))]
    )
    monkeypatch.setitem(sys.modules, "benchmarks.bench_planted", module)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [Path("bench_planted.py")])
    monkeypatch.setattr(datasets, "data_dir", lambda: tmp_path / "shop")
    for variable in runner.THREAD_VARIABLES:
        monkeypatch.setenv(variable, "1")  # so that main's own values do not stay
    return target


def test_a_benchmark_that_writes_into_data_fails_the_run(planted, monkeypatch, capsys):
    assert runner.main([]) == 0
    module = sys.modules["benchmarks.bench_planted"]
    good = module.run
    module.run = lambda: (planted.parent / "shop" / "runs.csv").write_text("22\n") and good()
    assert runner.main([]) == 1
    printed = capsys.readouterr()
    assert "failed: bench_planted" in printed.out
    assert "bench_planted wrote into data/: " in printed.err
    assert "runs.csv" in printed.err


def test_saved_rows_name_the_kind_of_machine(tmp_path):
    ours, theirs = Timing((0.001, 0.002)), Timing((0.002, 0.004))
    rows = [Row("work", ours, "peer", theirs, 2.0), Row("more", ours, "peer", theirs)]
    runner.save(rows, tmp_path / "results" / "speed.csv", 2)
    saved = pd.read_csv(tmp_path / "results" / "speed.csv")
    assert saved["ratio"].tolist() == [2.0, 2.0] and saved["ours_ms"].tolist() == [1.5, 1.5]
    assert saved["threads"].tolist() == [2, 2]
    assert saved["promised"][0] == 2.0 and saved["promised"].isna().tolist() == [False, True]
    assert saved["machine"].str.fullmatch(r".+ \(\w+\), \d+ cores").all()
    assert saved["versions"].str.startswith("Python 3.").all()
    assert saved["versions"].str.contains("numpy 2").all()
    assert saved["cpu_ratio"].isna().all()  # not counted here


def test_saving_again_replaces_the_same_rows_and_keeps_the_others(tmp_path):
    def row(case, seconds):
        return Row(case, Timing((1.0,), (0.5,)), "peer", Timing((seconds,), (seconds,)))

    path = tmp_path / "speed.csv"
    runner.save([row("a", 2.0), row("b", 3.0)], path, 1)
    runner.save([row("a", 4.0)], path, 2)
    runner.save([row("a", 5.0)], path, 1)
    saved = pd.read_csv(path).set_index(["case", "threads"])
    assert saved["ratio"].to_dict() == {("a", 1): 5.0, ("a", 2): 4.0, ("b", 1): 3.0}
    assert saved["cpu_ratio"].to_dict() == {("a", 1): 10.0, ("a", 2): 8.0, ("b", 1): 6.0}
    page = runner.readme(tmp_path, f"above\n{runner.BEGIN}\nold\n{runner.END}\nbelow\n")
    assert page.startswith("above\n") and page.endswith("\nbelow\n") and "old" not in page
    assert "| b | peer | 1 | 1000 | 500 | 3.00 | 6.00 |  |" in page
    assert runner.readme(tmp_path, page) == page


def test_the_readme_shows_the_saved_rows():
    page = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    assert runner.readme(ROOT / "benchmarks" / "results", page) == page


def test_processor_seconds_leave_out_what_is_only_waited_for():
    def work():
        end = time.process_time() + 0.03
        while time.process_time() < end:
            pass

    waited = {"waits": lambda: time.sleep(0.05), "works": work}
    timings = interleave(waited, repeat=2)
    assert max(timings["waits"].cpu) < 0.02 < 0.03 <= min(timings["works"].cpu)


def test_ratio_is_of_the_middle_round_and_a_missed_promise_is_said():
    ours, theirs = Timing((1.0, 2.0, 30.0)), Timing((0.5, 8.0, 300.0))  # ratios 0.5, 4, 10
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
