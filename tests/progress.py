"""Print a line for each finished file of tests and each finished notebook, in place of dots.

A run of half an hour should say what it does:

      12.3 s  tests/test_metrics.py: 41 passed [17/74]
     104.8 s  notebooks/06_interaction_models.ipynb: 29 passed, 2 failed [18/74]

The seconds are those of the file's tests with their fixtures; under pytest-xdist several files run
at once, and the lines come from the process that collects the workers' reports. Failures stand in
full at the end, as always. Runs of a single file, and -v and -q, look as they always did.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

# In the order in which pytest's own last line names them.
SHOWN = ("failed", "passed", "skipped", "xfailed", "xpassed", "error")


def file_of(nodeid: str) -> str:
    """Return the file that a test belongs to."""
    return nodeid.split("::")[0]


class Progress:
    """Counts the tests of each file and prints a line when all of them are done."""

    def __init__(self, reporter) -> None:
        self.reporter = reporter
        self.waiting: Counter[str] = Counter()  # tests of each file that are not finished
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.n_files = 0

    def expect(self, nodeids: list[str]) -> None:
        """Take note of what will run; every worker of pytest-xdist names the same tests."""
        self.waiting = Counter(map(file_of, nodeids))
        self.n_files = len(self.waiting)
        if self.n_files > 1:
            self.reporter.showfspath = False  # no file names before lines of dots
            self.reporter._show_progress_info = False  # and no percentages after them

    def pytest_collection_finish(self, session) -> None:
        """Count the tests of a run in one process."""
        self.expect([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids) -> None:
        """Count the tests of a run in several processes."""
        if not self.n_files:
            self.expect(ids)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self, report):
        """Count an outcome, and take its letter from the terminal."""
        category, letter, word = yield
        if self.n_files < 2:
            return category, letter, word
        name = file_of(report.nodeid)
        if category:
            self.outcomes[name][category] += 1
        self.seconds[name] += getattr(report, "duration", 0.0)
        if report.when == "???":  # its worker died, and nothing more will be heard of this test
            self.done(name)
        return category, "", word

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Print the line of a file whose last test this was."""
        if self.n_files > 1:
            self.done(file_of(nodeid))

    def done(self, name: str) -> None:
        """One test of a file is finished."""
        self.waiting[name] -= 1
        if self.waiting[name]:
            return
        del self.waiting[name]
        found = self.outcomes[name]
        counts = ", ".join(f"{found[kind]} {kind}" for kind in SHOWN if found[kind])
        line = f"{self.seconds[name]:8.1f} s  {name}: {counts or 'nothing ran'}"
        red = bool(found["failed"] or found["error"])
        line += f" [{self.n_files - len(self.waiting)}/{self.n_files}]"
        self.reporter.write_line(line, red=red)
        self.reporter.flush()


@pytest.hookimpl(trylast=True)
def pytest_configure(config) -> None:
    """Watch the run, but not in a worker, and not where more or less was asked for."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput") or config.get_verbosity():
        return
    config.pluginmanager.register(Progress(reporter), "progress-of-files")
