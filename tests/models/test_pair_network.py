"""The cross-encoder's network: that of transformers, or the same under another mask."""

import numpy as np
import pytest
import torch
from safetensors import safe_open

from recsys_tutorial import pretrained
from recsys_tutorial.models._pair_network import PairNetwork, run_block

USER, OTHER = "Liked: Alien; Heat; The Big Lebowski", "Liked: Toy Story"
ITEM = "Aliens (1986). Action, Horror"
LONG = "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb (1964). Comedy, War"

pytestmark = pytest.mark.usefixtures("one_thread")


def scores_of(model, users, items):
    users, items = model.layout.users(users), model.layout.items(items)
    with torch.inference_mode():
        return model([users.ids[row] for row in users.rows], np.arange(len(items.rows)), items.ids)


def test_full_attention_is_the_network_of_transformers():
    model = PairNetwork(device="cpu")
    users, items = [USER, OTHER], [LONG, ITEM]
    batch = model.layout.tokenizer(users, items, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = model.bert(**batch).last_hidden_state[:, 0]
        expected = model.classifier(torch.tanh(model.pooler(hidden)))[:, 0]
    np.testing.assert_allclose(scores_of(model, users, items), expected, atol=1e-5)


def test_a_prefix_is_the_same_sequence_under_another_mask():
    model = PairNetwork(attention="prefix", device="cpu")
    user, item = model.layout.users([USER]).ids[0], model.layout.items([ITEM]).ids[0]
    batch = model.layout.sequences([user], [item])
    n, n_user = batch["input_ids"].shape[1], len(user) + 2
    allowed = torch.ones(n, n, dtype=torch.bool)
    allowed[:n_user, n_user:] = False  # the user's tokens do not look at the candidate's
    with torch.inference_mode():
        ids, segments = batch["input_ids"], batch["token_type_ids"]
        x = model.bert.embeddings(input_ids=ids, token_type_ids=segments)
        for block in model.blocks:
            x, _ = run_block(block, x, allowed[None, None])
        expected = model.classifier(torch.tanh(model.pooler(x[:, -1])))
    assert abs(scores_of(model, [USER], [ITEM]).item() - expected.item()) < 1e-5


def test_a_prefix_is_continued_alike_beside_longer_and_shorter_pairs():
    model = PairNetwork(attention="prefix", device="cpu")
    users, items = [USER, OTHER, "Liked: "], [LONG, ITEM, "Heat (1995). Crime"]
    alone = [scores_of(model, [u], [i]).item() for u, i in zip(users, items, strict=True)]
    assert np.ptp(alone) > 1e-3
    for tokens in (2048, 40, 1):  # all at once, two batches, one by one
        model.batch_tokens = tokens
        np.testing.assert_allclose(scores_of(model, users, items), alone, atol=1e-5)


def test_the_network_is_built_as_asked():
    options = {"layer": 1, "last_blocks": 1, "max_user_tokens": 20, "max_tokens": 40}
    model = PairNetwork(**options, dropout=0.3, device="cpu")
    assert len(model.blocks) == 1 and model.batch_tokens == 2048 and not model.training
    assert (model.layout.max_user_tokens, model.layout.max_tokens) == (20, 40)
    assert {part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)} == {0.3}
    assert model.classifier.weight.std().item() == pytest.approx(0.02, rel=0.15)  # of 384
    assert model.classifier.bias.item() == 0
    with safe_open(pretrained.text_encoder() / "model.safetensors", framework="pt") as file:
        found = {name.removeprefix("bert."): name for name in file.keys()}  # noqa: SIM118
        for kind in ("weight", "bias"):
            kept = file.get_tensor(found[f"pooler.dense.{kind}"])
            torch.testing.assert_close(getattr(model.pooler, kind).detach(), kept.float())


def test_what_is_trained_is_what_was_asked_for():
    """W, b, w and c always; of the blocks the last ones, or their low-rank updates."""
    head = 384 * 384 + 384 + 384 + 1
    n = {last: PairNetwork(last_blocks=last, device="cpu").n_trainable for last in (0, 1, 2, "all")}
    assert n[0] == head and n[2] - head == 2 * (n[1] - head) > 0
    assert n["all"] > 22e6
    lora = PairNetwork(last_blocks=2, lora_rank=4, device="cpu")
    # A (4, in) and B (out, 4) of four matrices (384, 384), and of 384 to 1,536 and back
    updates = 4 * (4 * (384 + 384) + 2 * (384 + 1536))
    assert lora.n_trainable == head + 2 * updates
    names = {name for name, p in lora.bert.named_parameters() if p.requires_grad}
    assert {name.split(".")[2] for name in names} == {"4", "5"}  # of blocks 0 to 5
    # A file of an adapter hangs on these names.
    assert "encoder.layer.5.attention.self.query.lora_A.default.weight" in names


def test_the_random_start_is_the_seeds():
    torch.manual_seed(0)
    first, other, again = (
        PairNetwork(layer=1, last_blocks=1, lora_rank=2, seed=seed, device="cpu").state_dict()
        for seed in (0, 1, 0)
    )
    drawn = [name for name in first if "lora_A" in name] + ["classifier.weight"]
    assert len(drawn) == 7
    for name in drawn:
        assert torch.equal(first[name], again[name]) and not torch.equal(first[name], other[name])
