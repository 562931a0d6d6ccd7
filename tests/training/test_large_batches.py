"""Chunks and processes against one plain step with the whole batch."""

import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from scipy import sparse
from torch import nn

from recsys_tutorial.losses import info_nce
from recsys_tutorial.training.large_batches import gather_rows, in_chunks
from scripts.machine_speed import limit
from tests.training import gather_script

HERE = Path(__file__).parent


def towers(dropout: float, seed: int = 0) -> nn.ModuleDict:
    torch.manual_seed(seed)
    parts = [[nn.Linear(5, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 4)] for _ in "ab"]
    return nn.ModuleDict({"a": nn.Sequential(*parts[0]), "b": nn.Sequential(*parts[1])}).double()


def gradients(model, encode, **options) -> tuple[float, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(20, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    temperature = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(2)  # of the dropout
    loss = info_nce(
        encode(model["a"], x), encode(model["b"], y), temperature=temperature, **options
    )
    loss.backward()
    found = [p.grad.ravel() for p in model.parameters()] + [temperature.grad.ravel()]
    return loss.item(), torch.cat(found)


def by_hand(model, inputs, chunk_size, loss) -> torch.Tensor:
    """Gao et al.'s algorithm as they write it: the gradients of vectors, then chunk after chunk."""
    chunks = [x.split(chunk_size) for x in inputs]
    states, vectors = [], []
    with torch.no_grad():
        for name, side in zip("ab", chunks, strict=True):
            encoded = []
            for chunk in side:
                states.append(torch.get_rng_state())
                encoded.append(model[name](chunk))
            vectors.append(torch.cat(encoded).requires_grad_())
    value = loss(*vectors)
    value.backward()
    states = iter(states)
    for name, side, v in zip("ab", chunks, vectors, strict=True):
        for chunk, gradient in zip(side, v.grad.split(chunk_size), strict=True):
            torch.set_rng_state(next(states))
            model[name](chunk).backward(gradient)
    return value


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_equals_the_algorithm_written_by_hand(dropout):
    """Dropout included: both passes over a chunk draw the same numbers."""
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(20, 5, generator=generator, dtype=torch.float64) for _ in range(2)]

    def loss(z, v):
        return info_nce(z, v, temperature=0.5, symmetric=True)

    hand, ours = towers(dropout), towers(dropout)
    torch.manual_seed(2)
    expected = by_hand(hand, inputs, 6, loss)
    torch.manual_seed(2)
    z, v = (in_chunks(ours[name], x, 6) for name, x in zip("ab", inputs, strict=True))
    value = loss(z, v)
    value.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    for p, q in zip(hand.parameters(), ours.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("chunk_size", [1, 6, 20, 100])
@pytest.mark.parametrize("symmetric", [False, True])
def test_gradients_equal_those_of_the_plain_step(chunk_size, symmetric):
    plain = gradients(towers(0.0), lambda encode, x: encode(x), symmetric=symmetric)
    chunked = gradients(
        towers(0.0), lambda encode, x: in_chunks(encode, x, chunk_size), symmetric=symmetric
    )
    assert chunked[0] == pytest.approx(plain[0], rel=1e-12)
    assert torch.allclose(chunked[1], plain[1], rtol=1e-9, atol=1e-15)
    # a guard: halves of the batch on their own have fewer negatives, and other gradients
    halves = gradients(towers(0.0), lambda encode, x: encode(x), mask=torch.eye(20).roll(1, 0) > 0)
    assert not torch.allclose(halves[1], plain[1], rtol=1e-3)


def test_a_bert_in_float32_agrees_to_a_millionth():
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=50, intermediate_size=64, **sizes)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    model, ids = BertModel(config).train(), torch.randint(50, (24, 9))

    def encode(ids):
        return nn.functional.normalize(model(ids).last_hidden_state.mean(1), dim=1)

    def step(vectors):
        model.zero_grad()
        info_nce(vectors(ids), vectors(ids.flip(1)), temperature=0.05).backward()
        return torch.cat([p.grad.ravel() for p in model.parameters() if p.grad is not None])

    plain = step(encode)
    chunked = step(lambda x: in_chunks(encode, x, 5))
    assert (chunked - plain).norm() <= 1e-6 * plain.norm()


def test_one_chunk_of_activations_is_alive_at_a_time():
    """Counts tensors that live, so it does not depend on an allocator."""
    layer, x = nn.Linear(3, 3), torch.randn(40, 3)

    def most_alive(vectors) -> int:
        count = {"now": 0, "most": 0}

        def gone(n):
            count["now"] -= n

        def encode(x):
            hidden = layer(x)
            weakref.finalize(hidden, gone, len(x))
            count["now"] += len(x)
            count["most"] = max(count["most"], count["now"])
            return hidden * hidden  # keeps `hidden` for the backward pass

        info_nce(vectors(encode), torch.randn(40, 3), temperature=1.0).backward()
        return count["most"]

    assert most_alive(lambda encode: in_chunks(encode, x, 8)) == 8
    assert most_alive(lambda encode: torch.cat([encode(c) for c in x.split(8)])) == 40


def test_takes_what_can_be_sliced():
    matrix = sparse.random(7, 4, density=0.5, format="csr", random_state=0)
    layer = nn.Linear(4, 2).double()

    def encode(x):
        return layer(torch.from_numpy(x.toarray() if sparse.issparse(x) else np.asarray(x)))

    expected = encode(matrix)
    assert torch.allclose(in_chunks(encode, matrix, 3), expected)
    assert torch.allclose(in_chunks(encode, matrix.toarray().tolist(), 3), expected)
    with torch.no_grad():
        assert not in_chunks(encode, matrix, 3).requires_grad
    assert in_chunks(encode, matrix, 3).requires_grad


@pytest.mark.parametrize("n, chunk_size", [(3, 0), (0, 3)])
def test_nothing_to_encode_is_refused(n, chunk_size):
    with pytest.raises(ValueError, match="must be finite and at least 1"):
        in_chunks(nn.Linear(2, 2), torch.zeros(n, 2), chunk_size)


def test_alone_gathering_changes_nothing(tmp_path):
    x = torch.zeros(2, 3)
    assert gather_rows(x) is x
    alone = {"init_method": f"file://{tmp_path / 'alone'}", "rank": 0, "world_size": 1}
    dist.init_process_group("gloo", **alone)
    try:
        assert gather_rows(x) is x
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    options = ["--standalone", "--nproc_per_node", "2"]  # a free port
    script = str(HERE / "gather_script.py")
    command = [sys.executable, "-m", "torch.distributed.run", *options, script, str(folder)]
    paths = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=limit(240))
    assert done.returncode == 0, done.stderr[-3000:]
    return [np.load(folder / f"process-{rank}.npz") for rank in (0, 1)]


@pytest.mark.parametrize("name", ["plain", "in chunks"])
def test_two_processes_equal_one_with_the_whole_batch(two_processes, name):
    expected, history = gather_script.run(None)
    for process in two_processes:
        assert process["processes"] == 2
        # gradients are summed in another order: float64's rounding, nothing more
        np.testing.assert_allclose(process[f"{name} parameters"], expected, rtol=1e-9)
        np.testing.assert_allclose(
            process[f"{name} history"], history, rtol=1e-6
        )  # sent as float32


def test_without_gathering_they_do_not(two_processes):
    expected, _ = gather_script.run(None)
    assert not np.allclose(two_processes[0]["not gathered parameters"], expected, rtol=1e-3)
