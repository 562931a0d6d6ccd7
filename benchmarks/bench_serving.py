"""The service under load, beside implicit's model in the same shell; indexes and encoders.

Writes three tables to benchmarks/results: serving.csv (latency and throughput over HTTP on this
machine's loopback, by locust), serving_indexes.csv (quality, size and time of a search) and
serving_encoders.csv (the text encoder in torch, ONNX and ONNX with eight-bit weights). Needs
`make demo` once before, for its versions, which it makes where they are missing.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from benchmarks import bench_retrieval
from benchmarks.harness import THREADS, Row, Timing, interleave, limited_threads

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
FOLDER = ROOT / "_build" / "service"
CLIENTS, SECONDS, ROUNDS = (1, 8, 64), 5, 3


def run() -> list[Row]:
    if not find_spec("locust"):  # it changes the process that imports it: the load has its own
        raise ModuleNotFoundError("no locust", name="locust")
    from recsys_tutorial.serving.service import train_artefacts

    train_artefacts(FOLDER)
    with tempfile.TemporaryDirectory() as scratch:
        bodies = write_bodies(Path(scratch))
        rows = beside_implicit(Path(scratch), bodies)
        latencies(Path(scratch), bodies)
    indexes()
    encoders()
    return rows


def write_bodies(folder: Path) -> dict[str, Path]:
    """Questions with the likes of real users, and messages by many."""
    from recsys_tutorial.datasets import load_movielens
    from recsys_tutorial.splits import rolling_split

    split = rolling_split(*load_movielens()).test[-1]
    rng = np.random.default_rng(0)
    asked, said = [], []
    for row in rng.permutation(split.train.shape[0]):
        likes = split.item_ids[split.train[[row]].indices]
        likes = rng.permutation(likes)[:30].tolist()
        if likes:
            asked.append(json.dumps({"likes": likes, "k": 10}))
            said.append(json.dumps({"user_id": f"u{row}", "item_id": likes[0], "value": "like"}))
    paths = {"/recommend": folder / "asked", "/feedback": folder / "said"}
    for path, lines in zip(paths.values(), (asked, said), strict=True):
        path.write_text("\n".join(lines))
    return paths


@contextlib.contextmanager
def serving(scratch: Path, version: str, *options: str, shell: str = "ours"):
    """A server process for one version, with one thread; its address."""
    state = Path(tempfile.mkdtemp(dir=scratch))
    plan = {"stable": version, "previous": None, "candidate": None, "share": 0.0}
    (state / "deployment.json").write_text(json.dumps(plan))
    command = [sys.executable, "-m", "benchmarks.serving_shell", shell, "serve", str(FOLDER)]
    command += ["--state", str(state), "--port", "0", "--rate", "1e9", "--burst", "1000000000"]
    process = subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if found := re.search(r"serving at (\S+)", line):
                yield found[1]
                break
        else:
            raise RuntimeError("the server did not begin")
    finally:
        process.terminate()
        process.wait()


def load(base: str, path: str, bodies: Path, clients: int, seconds: int = SECONDS) -> dict:
    """Locust's figures of one run: requests a second, median and 99th percentile in ms."""
    env = {**os.environ, "BENCH_BODIES": str(bodies), "BENCH_PATH": path}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "locust", "-f", "benchmarks/serving_load.py", "--headless",
             "--users", str(clients), "--spawn-rate", str(clients), "--run-time", f"{seconds}s",
             "--host", base, "--csv", f"{folder}/load", "--only-summary", "--loglevel", "ERROR"],
            cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        total = pd.read_csv(f"{folder}/load_stats.csv").iloc[-1]
    assert total["Failure Count"] == 0, f"{total['Failure Count']} requests failed"
    return {
        "requests per second": round(float(total["Requests/s"]), 1),
        "p50 ms": float(total["50%"]),
        "p99 ms": float(total["99%"]),
        "requests": int(total["Request Count"]),
    }


def put_on(base: str, version: str) -> None:
    """Have a server answer with another version."""
    body, headers = json.dumps({"version": version}), {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{base}/models/activate", body.encode(), headers)
    urllib.request.urlopen(request).close()


def beside_implicit(scratch: Path, bodies: dict[str, Path]) -> list[Row]:
    """Milliseconds a request at 64 clients, ours and implicit's in turn."""
    import implicit

    times: dict[str, list[float]] = {"ours": [], "implicit": []}
    with (
        serving(scratch, "fading-als") as ours,
        serving(scratch, "fading-als", shell="implicit") as theirs,
    ):
        for _ in range(ROUNDS):
            for name, base in (("ours", ours), ("implicit", theirs)):
                found = load(base, "/recommend", bodies["/recommend"], 64)
                times[name].append(1 / found["requests per second"])
    timings = {name: Timing(tuple(values)) for name, values in times.items()}
    case = "a list over HTTP, 64 clients, ImplicitALS with 32 factors folded in, 9,066 films"
    peer = f"implicit {implicit.__version__} in the same service"
    return [Row(case, timings["ours"], peer, timings["implicit"], 1.0)]


def latencies(scratch: Path, bodies: dict[str, Path]) -> None:
    """The table of latencies: batching on and off, one endpoint's and the other's, the indexes."""
    lines = []

    def measure(base: str, path: str, clients: int, **about) -> None:
        found = load(base, path, bodies[path], clients)
        lines.append({"endpoint": path, **about, "clients": clients, **found})
        print(lines[-1], file=sys.stderr, flush=True)

    for batch in (32, 1):
        with serving(scratch, "fading-ease", "--batch-size", str(batch)) as base:
            for version in ("fading-ease", "fading-als"):
                put_on(base, version)
                about = {"version": version, "index": "exact", "queries in a step": batch}
                for clients in CLIENTS:
                    measure(base, "/recommend", clients, **about)
            if batch > 1:
                for clients in CLIENTS:
                    measure(base, "/feedback", clients, version="", index="")
    for index in ("hnsw", "int8", "pq"):
        with serving(scratch, "fading-als", "--index", index) as base:
            about = {"version": "fading-als", "index": index, "queries in a step": 32}
            measure(base, "/recommend", 8, **about)
    RESULTS.mkdir(exist_ok=True)
    pd.DataFrame(lines).to_csv(RESULTS / "serving.csv", index=False)


def indexes() -> None:
    """Quality, size and time of the four indexes: the films' vectors, and many more in clusters."""
    from recsys_tutorial.serving.service.indexes import KINDS, VectorIndex

    lines = []
    films, users, quality = film_vectors()
    many, askers = bench_retrieval.clustered()
    for name, items, queries in (
        ("films, 9,066 x 32", films, users),
        (f"clustered, {len(many):,} x {many.shape[1]}", many, askers),
    ):
        built = {kind: VectorIndex(items, kind) for kind in KINDS}
        nothing = sparse.csr_matrix((64, len(items)))
        calls = {}
        for kind, index in built.items():
            for n in (1, 64):
                calls[kind, n] = partial(index.search, queries[:n], 10, nothing[:n])
        with limited_threads(THREADS):
            best = built["exact"].search(queries[:64], 10, nothing)[0]
        times = interleave(calls, repeat=7)
        for kind, index in built.items():
            found = index.search(queries[:64], 10, nothing)[0]
            recall = np.mean([np.isin(a, b).mean() for a, b in zip(best, found, strict=True)])
            lines.append({
                "vectors": name, "index": kind, "megabytes": round(index.n_bytes / 1e6, 3),
                "recall@10": round(float(recall), 3),
                "ms for 1": round(1e3 * times[kind, 1].median, 4),
                "ms for 64": round(1e3 * times[kind, 64].median, 4),
                **(quality[kind] if name.startswith("films") else {}),
            })  # fmt: skip
    pd.DataFrame(lines).to_csv(RESULTS / "serving_indexes.csv", index=False)


def film_vectors() -> tuple[np.ndarray, np.ndarray, dict[str, dict]]:
    """Vectors of films and of the last window's users; each index's NDCG@10 over all windows."""
    from recsys_tutorial.course import MODELS
    from recsys_tutorial.datasets import load_movielens
    from recsys_tutorial.evaluation import compare, evaluate_rolling
    from recsys_tutorial.serving.service.indexes import KINDS, VectorIndex
    from recsys_tutorial.splits import rolling_split

    rolling = rolling_split(*load_movielens())
    begun = MODELS["fading ImplicitALS"].fit()
    vectors = []
    for split in rolling.test:
        model = begun(split)
        vectors.append((model.item_factors_, model.fold_in(split.test.history)))

    def judged(kind: str):
        windows = iter(vectors)

        def fit(split):
            items, users = next(windows)
            columns, values = VectorIndex(items, kind).search(users, 10, split.test.seen)
            scores = np.full((len(users), len(items)), -np.inf)
            row, place = np.nonzero(columns >= 0)
            scores[row, columns[row, place]] = values[row, place]
            return scores

        return evaluate_rolling(fit, rolling.test)

    results = {kind: judged(kind) for kind in KINDS}
    quality = {}
    for kind, result in results.items():
        quality[kind] = {"NDCG@10": round(float(result["ndcg@10"]), 4)}
        if kind != "exact":
            difference = compare(result, results["exact"])
            quality[kind] |= {
                "minus exact": round(difference.difference, 4),
                "low": round(difference.low, 4),
                "high": round(difference.high, 4),
            }
    return *vectors[-1][:1], np.vstack([users for _, users in vectors]), quality


def encoders() -> None:
    """The text encoder in torch, in ONNX and with weights of eight bits: loss, size and speed."""
    import onnxruntime

    from recsys_tutorial.datasets import film_texts, load_movielens
    from recsys_tutorial.encoders import TextEncoder

    encoder = TextEncoder(device="cpu", use_cache=False, progress=False)
    texts = film_texts(load_movielens().items)
    texts = [texts[place] for place in np.random.default_rng(0).permutation(len(texts))[:2000]]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS

    with tempfile.TemporaryDirectory() as folder, limited_threads(THREADS):
        paths = exported(encoder, Path(folder))
        sizes = {name: path.stat().st_size for name, path in paths.items()}
        sizes["torch"] = sum(p.numel() * p.element_size() for p in encoder.model.parameters())
        calls = {"torch": encoder.encode}
        for name, path in paths.items():
            session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
            calls[name] = lambda texts, session=session: by_session(encoder, session, texts)
        vectors = {name: call(texts) for name, call in calls.items()}
        timed = {}
        for n in (1, 32):
            timed |= {(name, n): lambda call=call, n=n: call(texts[:n])
                      for name, call in calls.items()}  # fmt: skip
        times = interleave(timed, repeat=9)
    reference, lines = vectors["torch"], []
    nearest = neighbours(reference, reference)
    for name, found in vectors.items():
        cosines = (found * reference).sum(axis=1)
        same = [np.isin(a, b).mean() for a, b in
                zip(neighbours(found, found), nearest, strict=True)]  # fmt: skip
        lines.append({
            "encoder": name, "megabytes": round(sizes[name] / 1e6, 1),
            "ms for 1": round(1e3 * times[name, 1].median, 2),
            "ms for 32": round(1e3 * times[name, 32].median, 2),
            "cosine, mean": round(float(cosines.mean()), 4),
            "cosine, least": round(float(cosines.min()), 4),
            "same of 10 nearest": round(float(np.mean(same)), 3),
        })  # fmt: skip
    pd.DataFrame(lines).to_csv(RESULTS / "serving_encoders.csv", index=False)


def neighbours(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The ten nearest of the first 500 vectors, without themselves."""
    cosines = queries[:500] @ vectors.T
    cosines[np.arange(500), np.arange(500)] = -np.inf
    return np.argsort(-cosines, axis=1)[:, :10]


def by_session(encoder, session, texts: list[str]) -> np.ndarray:
    """What `encoder.encode` does, with an ONNX graph in place of the network."""
    parts = []
    for start in range(0, len(texts), 32):
        inputs = encoder.prepare(texts[start : start + 32])
        inputs = {name: values.numpy() for name, values in inputs.items()}
        hidden = session.run(None, inputs)[0]  # (batch, n_tokens, dim)
        mask = inputs["attention_mask"][:, :, None].astype(np.float32)
        parts.append((hidden * mask).sum(axis=1) / mask.sum(axis=1))
    vectors = np.vstack(parts)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def exported(encoder, folder: Path) -> dict[str, Path]:
    """The network as an ONNX graph, and the same with weights of eight bits."""
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    class Hidden(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask)[0]

    inputs = encoder.prepare(["a film about robots", "short"])
    names = ["input_ids", "attention_mask"]
    axes = {name: {0: "batch", 1: "tokens"} for name in (*names, "hidden")}
    paths = {"ONNX": folder / "full.onnx", "ONNX, int8": folder / "int8.onnx"}
    torch.onnx.export(
        Hidden(encoder.model).eval(), tuple(inputs[name] for name in names), paths["ONNX"],
        input_names=names, output_names=["hidden"], dynamic_axes=axes, dynamo=False,
    )  # fmt: skip
    quantize_dynamic(paths["ONNX"], paths["ONNX, int8"], weight_type=QuantType.QInt8)
    return paths
