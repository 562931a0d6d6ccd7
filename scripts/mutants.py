"""Plant single-line faults in the package, one at a time, and see whether the tests notice.

    .venv/bin/python scripts/mutants.py                         # 60 faults over all modules
    .venv/bin/python scripts/mutants.py --n 20 --seed 3 --module losses
    .venv/bin/python scripts/mutants.py --seed 3 --again        # those that survived, after a test

A copy of the tree is changed, never the tree itself, and it has a copy of the cache. Each fault
meets its module's own tests (`OWN_TESTS`) up to the first that fails; one that makes them take over
three times as long as usual counts as caught. Every module is drawn equally often, in it every kind
of fault equally often. Results are kept in `_build/mutants/`, so that a run that was interrupted
goes on where it stopped, and faults of a module that has changed since are planted anew.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import hashlib
import importlib
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from itertools import zip_longest
from pathlib import Path

try:
    from scripts.faults import Fault, faults
except ModuleNotFoundError:  # run as a script
    from faults import Fault, faults

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "recsys_tutorial"
# The tests of datasets/cleaning are tests/datasets/test_cleaning.py; a module without a file of its
# name is tested by all of its room's, unless it is named here.
OWN_TESTS = {
    "_files/tensors": ["_files/test_tensors", "training/test_checkpoints"],
    "_imports/lazy": ["_imports/test_moved"],
    "course/_contrastive": ["test_course_contrastive"],
    "course/_features": ["test_course_features"],
    "course/_fits": ["test_course_fits"],
    "course/_lists": ["test_course_lists"],
    "course/_log": ["test_course_lists"],
    "course/_towers": ["test_course_fits"],
    "course/_codes": ["test_course_codes"],
    "course/_sequences": ["test_course_sequences"],
    "course/_language": ["test_course_language"],
    "course/_teaching": ["test_course_teaching"],
    "course/_replies": ["test_course_replies"],
    "datasets/_archives": ["datasets/test_archives", "datasets/test_exports"],
    "datasets/_delimited": [
        "datasets/test_exports",
        "datasets/test_movielens",
        "datasets/test_clipart",
    ],
    "datasets/_mending": ["datasets/test_cleaning", "datasets/test_exports", "datasets/test_times"],
    "datasets/_movielens_formats": ["datasets/test_movielens", "datasets/test_movielens_formats"],
    "datasets/_snapshots": ["datasets/test_packages", "datasets/test_open_bandit"],
    "datasets/_tables": [
        "datasets/test_exports",
        "datasets/test_movielens",
        "datasets/test_clipart",
    ],
    "datasets/cleaning": ["datasets/test_cleaning", "datasets/test_exports"],
    "datasets/movielens": [
        "datasets/test_movielens",
        "datasets/test_download",
        "datasets/test_archives",
    ],
    "datasets/pictures": ["datasets/test_pictures", "encoders/test_image", "datasets/test_clipart"],
    "evaluation/full_ranking": ["evaluation/test_full_ranking", "evaluation/test_intervals"],
    "encoders/_loading": ["encoders/test_text", "encoders/test_image"],
    "encoders/base": ["encoders/test_base", "encoders/test_text", "encoders/test_image"],
    "encoders/image": ["encoders/test_image", "encoders/test_base"],
    "encoders/text": ["encoders/test_text", "encoders/test_base"],
    "feedback/bandits": ["feedback/test_bandits", "feedback/test_runs"],
    "feedback/online": ["feedback/test_online", "feedback/test_ways", "feedback/test_runs"],
    "feedback/pictures": ["feedback/test_shop"],
    "feedback/policies": ["feedback/test_policies", "feedback/test_bandits", "feedback/test_runs"],
    "feedback/shop": ["feedback/test_shop", "feedback/test_runs"],
    "feedback/ways": ["feedback/test_ways", "feedback/test_runs"],
    "hard_negatives": ["test_hard_negatives", "models/test_two_tower"],
    "leaderboard/costs": ["leaderboard/test_rows"],
    "leaderboard/rows": ["leaderboard/test_rows", "leaderboard/test_boards"],
    "leaderboard/tables": ["leaderboard/test_rows", "leaderboard/test_boards"],
    "language/_adapted": ["language/test_adapter"],
    "language/_generation": ["language/test_model"],
    "language/_likelihoods": ["language/test_model"],
    "language/_packing": ["language/test_model"],
    "language/_pooling": ["language/test_model"],
    "language/_seams": ["language/test_model"],
    "language/_states": ["language/test_model"],
    "language/adapter_files": ["language/test_adapter", "language/test_soft_tokens"],
    "losses/_candidates": ["losses/test_contrastive"],
    "losses/_checks": ["losses/test_contrastive", "losses/test_scores"],
    "models/_biased_solvers": ["models/test_biased_mf", "models/test_factors"],
    "models/_bpr_folding": ["models/test_bpr"],
    "models/_catalogue": ["models/test_catalogue", "models/test_sequential"],
    "models/_code_beams": ["models/test_generative"],
    "models/_code_network": ["models/test_generative"],
    "models/_events": ["models/test_events", "models/test_sequential"],
    "models/_largest": ["models/test_baselines"],
    "models/_next_code": ["models/test_generative"],
    "models/_next_item": ["models/test_sequential"],
    "models/_ease_users": ["models/test_ease"],
    "models/_ratings": ["models/test_biased_mf"],
    "models/_saving": ["models/test_catalogue", "models/test_two_tower", "models/test_sequential"],
    "models/_ridge_blocks": ["models/test_ridge"],
    "models/_row_blocks": ["models/test_ridge"],
    "models/_sequence_blocks": ["models/test_sequential"],
    "models/_sequence_network": ["models/test_sequential"],
    "models/_two_tower_vectors": ["models/test_two_tower"],
    "models/biased_mf": ["models/test_biased_mf", "models/test_factors"],
    "models/bpr": ["models/test_bpr", "models/test_factors"],
    "models/implicit_als": ["models/test_implicit_als", "models/test_factors"],
    "models/ease": ["models/test_ease", "models/test_baselines"],
    "models/reading": ["models/test_sequential"],
    "models/sgd": [
        "models/test_sgd",
        "models/test_factors",
        "models/test_bpr",
        "models/test_biased_mf",
    ],
    "models/towers/_with_encoder": ["models/towers/test_encoder"],
    "models/towers/encoder": ["models/towers/test_encoder", "models/test_two_tower"],
    "models/towers/history": ["models/towers/test_history", "models/test_two_tower"],
    "models/towers/rows": ["models/towers/test_rows", "models/test_two_tower"],
    "models/two_tower": [
        "models/test_two_tower",
        "models/test_objectives",
        "models/towers/test_encoder",
    ],
    "plotting/_diagrams": ["plotting/test_charts"],
    "pretrained/__main__": ["pretrained/test_main"],
    "pretrained/_known": ["pretrained/test_main", "pretrained/test_sources"],
    "pretrained/finding": [
        "pretrained/test_finding",
        "pretrained/test_files",
        "pretrained/test_sources",
    ],
    "ranking": ["test_ranking", "test_ties", "test_reranking"],
    "splits/parts": ["splits/test_splits", "splits/test_faded", "splits/test_groups"],
    "training/_accelerators": ["_torch/test_precision", "training/test_loop"],
    "training/_steps": ["training/test_loop", "_torch/test_precision"],
}
# Faults that change no result: why, the module, and the line as the fault leaves it (of several
# lines the first; without its comment). One line more or less, and the fault is planted again.
EQUIVALENT = {
    "how much is taken at a time, within what memory allows, not what comes out": {
        "datasets/_download": ["_BLOCK = 2 << 16"],
        "evaluation/full_ranking": ["_BLOCK_BYTES = 32 * 2**20", "_BLOCK_BYTES = (2**20)"],
        "models/baselines": ["_BLOCK_BYTES = 5 * 2**20", "_BLOCK_BYTES = (2**20)"],
        "models/cross_encoder": ["_USERS = 64"],
        "models/generative": ["_BLOCK = 128"],
        "models/interaction_ranker": ["_BLOCK = 32"],
        "models/neighbours": ["_BLOCK = 1024"],
        "models/_row_blocks": ["_PADDING = 2.5"],
        "models/sequential": ["_BLOCK = 256"],
        "models/towers/encoder": ["_BLOCK = 128"],
        "models/towers/last_blocks": ["_BLOCK = 512", "_STEP = 128"],
        "models/two_tower": ["_BLOCK = 512"],
        "retrieval": ["_BLOCK_BYTES = 64 * 2**20", "_BLOCK_BYTES = (2**20)"],
        "semantic_ids/residual": ["_BLOCK = 8192"],
    },
    "how a system is solved, not its solution": {
        "models/_ridge_blocks": [
            "a = _eliminate(kernel, y) if not (n <= SMALL) else _solve(kernel, y)",
            "a = _eliminate(kernel, y) if n < SMALL else _solve(kernel, y)",
        ],
    },
    "candidates beyond the needed, to take fewer rounds": {"retrieval": ["_MARGIN = 7"]},
    "where the minimum is looked for first, and in how many steps at most: it needs fewer": {
        "evaluation/pointwise": ["found = np.ones(2)", "for _ in range(200):"],
    },
    "on how many threads or in how many processes, not what comes out": {
        "feedback/policies": [
            "solve = BatchedRidge(looks, len(penalty)).solve",
            "solve = BatchedRidge(looks, len(penalty), n_threads=2).solve",
            "solve = BatchedRidge(turned, len(penalty)).solve",
            "solve = BatchedRidge(turned, len(penalty), n_threads=2).solve",
        ],
        "leaderboard/costs": [
            "with ProcessPoolExecutor() as process:",
            "with ProcessPoolExecutor(max_workers=2) as process:",
        ],
    },
    "how long is waited, and when files are merged, not what is in them": {
        "encoders/_cache": [
            "_MANY_SHARDS = 32",
            "_PATIENCE = 10.0",
            "with self._lock(1) as locked:",
        ],
    },
    "of a longer or shorter file, how many lines are looked at": {
        "datasets/_delimited": [
            'sample = self.data[:131072].decode("utf-8-sig", "replace").splitlines()',
            "sample = [line for line in sample if line.strip()][:400]",
        ],
    },
    "a number that is drawn is never equal to a probability": {
        "feedback/lists": ["chance = rng.random(shown.shape) <= epsilon"],
        "feedback/logs": ["reward = rng.random(n) <= self.attraction[shopper, action]"],
        "feedback/shop": [
            "return self._luck <= self.click_probabilities(shown)",
            "swaps = np.flatnonzero(rng.random(self.n_shoppers) <= self.swap)",
        ],
        "models/_histories": ["shown = rng.random(likes.nnz) <= wanted"],
    },
    "what only a type checker reads": {
        "course/_fits": [
            "Features = Callable[[pd.DataFrame], (np.ndarray)]",
            "Features = Callable[[pd.DataFrame], (sparse.csr_matrix)]",
        ],
    },
    "integers of twice the length: slower": {
        "models/_largest": ["best = above | (equal & (np.cumsum(equal, axis=1) <= room))"],
    },
}
NO_CODE = ("protocols",)  # what others must do, never run
# Seconds added to three times the usual: another job may take the cores meanwhile.
SLOWEST = 60
# Imported once, before the tests of a fault are forked off: this takes longer than most of them.
HEAVY = ["torch", "scipy.sparse", "pandas", "sklearn", "transformers", "timm", "hypothesis",
         "faiss", "matplotlib.pyplot", "accelerate", "pytest", "nbval.plugin"]  # fmt: skip
PYTEST = ["-x", "-q", "-m", "not slow and not browser", "-p", "no:cacheprovider",
          "-p", "no:playwright", "--hypothesis-seed=0",
          "--hypothesis-profile=mutants"]  # fmt: skip


def modules(root: Path = ROOT) -> list[str]:
    """Return the names of the package's modules, "losses" or "models/bpr"."""
    folder = root / PACKAGE
    names = [p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.py")]
    return sorted(name for name in names if not name.endswith(("__init__", *NO_CODE)))


def tests_of(module: str, root: Path) -> list[str]:
    """Return the paths that pytest is given: the module's test files and itself (doctests)."""
    room, _, name = module.rpartition("/")
    own = "/".join(filter(None, [room, f"test_{name.lstrip('_')}"]))
    paths = [f"tests/{name}.py" for name in OWN_TESTS.get(module, [own])]
    if paths == [f"tests/{own}.py"] and room and not (root / paths[0]).is_file():
        paths = [f"tests/{room}"]
    missing = [path for path in paths if not (root / path).exists()]
    if missing:
        raise FileNotFoundError(f"{module} has no {missing[0]}: name its tests in OWN_TESTS")
    # The module last: pytest, given it first, would import its room and then it a second time.
    return [*paths, f"{PACKAGE}/{module}.py"]


def diff(module: str, source: str, fault: Fault) -> str:
    """Return the changed lines, those without first with - and those with the fault with +."""
    old, new = source.splitlines(), fault.apply(source).splitlines()
    while old and new and old[-1] == new[-1]:
        old.pop(), new.pop()
    same = next(i for i, pair in enumerate(zip_longest(old, new)) if pair[0] != pair[1])
    lines = [f"-{line}" for line in old[same:]] + [f"+{line}" for line in new[same:]]
    return "\n".join([f"{PACKAGE}/{module}.py:{fault.line}: {fault.kind}", *lines])


def changed_line(source: str, fault: Fault) -> str:
    """Return the line of a fault as it leaves it, without indent and comment."""
    return fault.apply(source).splitlines()[fault.line - 1].split("  #")[0].strip()


def plantable(name: str, source: str) -> list[Fault]:
    """Return the faults of a module that change a result."""
    known = {line for lines in EQUIVALENT.values() for line in lines.get(name, [])}
    return [f for f in faults(source) if not known or changed_line(source, f) not in known]


def draw(names: list[str], n: int, seed: int, root: Path = ROOT) -> list[tuple[str, Fault]]:
    """Return n faults: modules in turn, in a module a kind at random, of a kind one at random."""
    sources = {name: (root / PACKAGE / f"{name}.py").read_text(encoding="utf-8") for name in names}
    pools = {name: plantable(name, source) for name, source in sources.items()}
    rng, chosen, order = random.Random(seed), [], []
    while len(chosen) < n and any(pools.values()):
        order = order or rng.sample(names, len(names))
        name = order[-1]
        if not pools[name]:
            order.pop()
            continue
        kind = rng.choice(sorted({fault.kind for fault in pools[name]}))
        fault = rng.choice([fault for fault in pools[name] if fault.kind == kind])
        # one fault a place: two of them would ask the same question
        pools[name] = [f for f in pools[name] if (f.start, f.end) != (fault.start, fault.end)]
        with contextlib.suppress(SyntaxError):  # no test is needed to catch that: another one
            ast.parse(fault.apply(sources[name]))
            chosen.append((name, fault))
            order.pop()
    return chosen


def interval(caught: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z, share = 1.96, caught / n
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def copy_tree(target: Path, root: Path = ROOT) -> None:
    """Copy what git knows or would know of the tree, and the cache, which faults may spoil."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)


def _child(folder: str, paths: list[str], log: str) -> None:
    if hasattr(os, "setsid"):
        os.setsid()  # so that a test's children end with it
    sys.stdout = sys.stderr = open(log, "w", encoding="utf-8")  # noqa: SIM115, until the end
    os.dup2(sys.stdout.fileno(), 1)
    os.dup2(sys.stdout.fileno(), 2)
    os.chdir(folder)
    sys.path[:] = [folder, *(p for p in sys.path if p not in ("", str(Path(__file__).parent)))]
    for name in [n for n in sys.modules if n.split(".")[0] in (PACKAGE, "scripts", "tests")]:
        del sys.modules[name]
    os.environ["PYTHONPATH"] = folder
    sys.dont_write_bytecode = True  # two faults within a second would share a stale .pyc
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    import hypothesis
    import pytest

    # A failing example is all that is asked for: it need not be the smallest.
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutants", phases=phases, database=None)
    code = pytest.main([*PYTEST, *paths])
    sys.stdout.flush()
    os._exit(int(code))


def run_tests(folder: Path, paths: list[str], limit: float) -> tuple[str, float]:
    """Run pytest in a process of its own; return "passed", "failed" or "timeout", and seconds."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    arguments = (str(folder), paths, str(folder / "mutants.log"))
    process = context.Process(target=_child, args=arguments)
    start = time.monotonic()
    process.start()
    process.join(limit)
    outcome = "timeout"
    if process.exitcode is not None:
        outcome = "failed" if process.exitcode else "passed"
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()
    return outcome, time.monotonic() - start


class Results:
    """What came of each fault, a JSON line each, kept between runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        self.known = {entry["key"]: entry for entry in map(json.loads, text.splitlines())}

    def add(self, **entry) -> None:
        """Keep one, at once."""
        self.known[entry["key"]] = entry
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def plant(chosen: list[tuple[str, Fault]], results: Results, again: bool, root: Path) -> list[dict]:
    """Test every fault that has no result yet (`again`: or that survived); return all results."""
    entries, normal = [], {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name) / "tree"
        copy_tree(folder, root)
        os.environ["RECSYS_TUTORIAL_CACHE"] = copy_cache(Path(name) / "cache")
        for number, (module, fault) in enumerate(chosen, start=1):
            path = folder / PACKAGE / f"{module}.py"
            source = path.read_text(encoding="utf-8")
            change = diff(module, source, fault)
            key = hashlib.sha256((source + change).encode()).hexdigest()[:16]
            entry = results.known.get(key)
            if entry is None or (again and entry["outcome"] == "survived"):
                tests = tests_of(module, root)
                if str(tests) not in normal:  # also a check that the tests are green
                    outcome, normal[str(tests)] = run_tests(folder, tests, 1800)
                    if outcome != "passed":
                        log = (folder / "mutants.log").read_text(encoding="utf-8")
                        raise SystemExit(f"{log[-3000:]}\n{tests} fail without a fault")
                path.write_text(fault.apply(source), encoding="utf-8")
                try:
                    outcome, seconds = run_tests(folder, tests, 3 * normal[str(tests)] + SLOWEST)
                finally:
                    path.write_text(source, encoding="utf-8")
                outcome = {"passed": "survived", "failed": "caught"}.get(outcome, "caught, timeout")
                results.add(key=key, outcome=outcome, seconds=round(seconds, 1), change=change)
                entry = results.known[key]
            print(f"{number}/{len(chosen)} {entry['outcome']} in {entry['seconds']:.0f} s: "
                  f"{entry['change'].splitlines()[0]}", flush=True)  # fmt: skip
            entries.append(entry)
    return entries


def copy_cache(target: Path) -> str:
    """Copy the folder of downloaded weights and features, if there is one; return its path."""
    from pooch import os_cache

    cache = os.environ.get("RECSYS_TUTORIAL_CACHE") or os_cache(PACKAGE)
    if Path(cache).is_dir():
        shutil.copytree(cache, target)
    return str(target)


def report(entries: list[dict]) -> str:
    """Return the survivors and the share that was caught."""
    survivors = [entry for entry in entries if entry["outcome"] == "survived"]
    n, caught = len(entries), len(entries) - len(survivors)
    low, high = interval(caught, n)
    lines = [f"\n{entry['change']}" for entry in survivors]
    slow = sum(entry["outcome"] == "caught, timeout" for entry in entries)
    lines.append(
        f"\n{caught} of {n} faults caught, {slow} of them by time: {caught / n:.0%}, "
        f"95 % interval {low:.0%} to {high:.0%}; {sum(e['seconds'] for e in entries):.0f} s"
    )
    return "\n".join(lines)


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Plant faults and say which survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=60, help="faults to plant")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another sample")
    parser.add_argument("--module", default="", help="only modules whose name contains this")
    parser.add_argument("--skip", default="", help="modules to leave out, by commas")
    parser.add_argument("--again", action="store_true", help="plant survivors again")
    parser.add_argument("--list", action="store_true", help="show the sample, plant nothing")
    options = parser.parse_args(argv)
    skipped = options.skip.split(",")
    names = [m for m in modules(root) if options.module in m and m not in skipped]
    chosen = draw(names, options.n, options.seed, root)
    if not chosen:
        parser.error(f"no fault can be planted in a module with {options.module!r} in its name")
    if options.list:
        for module, fault in chosen:
            source = (root / PACKAGE / f"{module}.py").read_text(encoding="utf-8")
            print(diff(module, source, fault), end="\n\n")
        return 0
    for name in HEAVY:
        importlib.import_module(name)
    gc.freeze()  # pytest collects garbage at its end: not what it was forked with
    results = Results(root / "_build" / "mutants" / f"seed{options.seed}.jsonl")
    print(report(plant(chosen, results, options.again, root)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
