"""A contrastive step of MiniLM-L6 in chunks beside the plain step: its time, and its memory.

Each step is measured in a process of its own, since memory that was freed once is used again. The
batch is 256 pairs of texts of 32 tokens, with dropout; a chunk is 32. Promised: at most 1.45 times
the time, and at most 0.25 times the memory that a step takes above model and gradients.
"""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import THREADS, Row, Timing, limited_threads

BATCH, CHUNK, TOKENS, REPEAT = 256, 32, 32, 2
SLOWER, MEMORY = 1.45, 0.25


def step(kind: str) -> dict[str, float]:
    """One step, after a small one that allocates the gradients: seconds, MB, and a check sum."""
    import torch

    from recsys_tutorial.encoders import TextEncoder
    from recsys_tutorial.leaderboard import cost
    from recsys_tutorial.losses import info_nce
    from recsys_tutorial.training.large_batches import in_chunks

    with limited_threads(THREADS):
        encoder = TextEncoder(device="cpu", use_cache=False).unfreeze("all").train()
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(1000, 20_000, (2, BATCH, TOKENS), generator=generator)

        def encode(ids):
            return encoder({"input_ids": ids, "attention_mask": torch.ones_like(ids)})

        def run(ids, chunk):
            torch.manual_seed(1)
            z, v = (in_chunks(encode, x, chunk) if chunk else encode(x) for x in ids)
            info_nce(z, v, temperature=0.05).backward()

        run(ids[:, :2], None)
        encoder.zero_grad(set_to_none=False)
        with cost() as taken:
            run(ids, CHUNK if kind == "in chunks" else None)
        total = sum(
            float(p.grad.double().norm() ** 2) for p in encoder.parameters() if p.grad is not None
        )
    return {"seconds": taken.seconds, "mb": taken.peak_mb, "norm": total**0.5}


def run() -> list[Row]:
    found: dict[str, list[dict]] = {"in chunks": [], "plain": []}
    for _ in range(REPEAT):  # in turn, so that the machine's moods hit both
        for kind, results in found.items():
            command = [sys.executable, "-m", "benchmarks.bench_grad_cache", kind]
            root = Path(__file__).parents[1]
            done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
    mb = {kind: min(r["mb"] for r in results) for kind, results in found.items()}
    share = mb["in chunks"] / mb["plain"]
    assert share <= MEMORY, f"{share:.2f} times the memory of the plain step, above {MEMORY}"
    ours, plain = (Timing(tuple(r["seconds"] for r in found[kind])) for kind in found)
    case = (
        f"MiniLM-L6, batch {BATCH}, chunks of {CHUNK}: {mb['plain']:,.0f} -> "
        f"{mb['in chunks']:,.0f} MB ({share:.2f}x)"
    )
    return [Row(case, ours, "plain step", plain, target=1 / SLOWER)]


if __name__ == "__main__":
    print(json.dumps(step(sys.argv[1])))
