"""Items as tokens: words stay what they were; vectors reach the model; what it learns of them."""

import numpy as np
import pytest
import torch

from recsys_tutorial.language import (
    Lesson,
    SoftTokens,
    add_adapter,
    add_soft_tokens,
    fill,
    lesson_log_likelihoods,
    load_adapter,
    save_adapter,
    teach,
)
from tests.language.conftest import tiny_model

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(6, 5))


def test_words_are_read_as_before_and_the_old_tokenizer_stays():
    model, plain = tiny_model(), tiny_model()
    old = model.tokenizer
    n = len(old)
    names = add_soft_tokens(model, VECTORS)
    assert len(names) == 6 and len(old) == n and model.tokens(names[3]) == [n + 3]
    args = (["the film", "likes heat:"], [" alien\n", " the matrix\n"])
    np.testing.assert_allclose(model.log_likelihood(*args), plain.log_likelihood(*args), atol=1e-9)
    trained = [name for name, p in model.model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 and all("soft_projection" in name for name in trained)


def test_a_soft_token_is_the_projected_vector_of_length_one():
    model = tiny_model()
    names = add_soft_tokens(model, VECTORS)
    soft = model.model.get_input_embeddings()
    ids = torch.tensor([model.tokens(f"the {names[2]} film")])
    vectors = soft(ids)[0]
    own = VECTORS[2] / np.linalg.norm(VECTORS[2])
    weight = soft.soft_projection.weight.detach().numpy()
    at = ids[0].tolist().index(soft.n_words + 2)
    np.testing.assert_allclose(vectors[at].detach().numpy(), weight @ own, atol=1e-9)
    rest = torch.arange(len(vectors)) != at
    torch.testing.assert_close(vectors[rest], soft.words(ids[0][rest]))


def test_at_first_it_is_about_as_long_as_a_word_and_a_row_of_zeros_is_zero():
    words = torch.nn.Embedding(50, 400)
    vectors = np.concatenate([RNG.normal(size=(200, 20)), np.zeros((1, 20))])
    found = SoftTokens(words, vectors)(torch.arange(50, 251)).detach()
    lengths = found.norm(dim=1)
    assert abs(float(lengths[:-1].mean() / words.weight.detach().norm(dim=1).mean()) - 1) < 0.1
    assert float(lengths[-1]) == 0


def test_what_shares_a_prompt_is_read_with_it_too():
    model = tiny_model(batch_tokens=16)  # the prompt goes through the cache
    names = add_soft_tokens(model, VECTORS)
    prompt = f"likes {names[0]} {names[4]} the theme film:"
    together = model.log_likelihood([prompt] * 2, [" alien\n", " heat\n"])
    large = tiny_model(batch_tokens=512)
    add_soft_tokens(large, VECTORS)
    alone = [large.log_likelihood([prompt], [end])[0] for end in (" alien\n", " heat\n")]
    np.testing.assert_allclose(together, alone, atol=1e-9)
    other = large.log_likelihood([prompt.replace(names[4], names[1])], [" alien\n"])[0]
    assert abs(other - alone[0]) > 1e-3


def lessons(names, kinds, items, n, seed):
    rng = np.random.default_rng(seed)
    ends = (" alien\n", " heat\n")
    found = []
    for user in range(n):
        item = rng.choice(items)
        right, wrong = ends[kinds[item]], ends[1 - kinds[item]]
        found.append(Lesson(user, f"likes {names[item]}\nfilm:", (right,), (wrong,)))
    return found


def right(model, some):
    return float(np.mean([a > b for a, b in lesson_log_likelihoods(model, some)]))


def test_what_vectors_say_is_learned_and_holds_for_items_that_were_not_taught():
    rng = np.random.default_rng(1)
    kinds = np.arange(40) % 2
    vectors = rng.normal(size=(40, 4)) * 0.5
    vectors[:, 0] += np.where(kinds, 2.0, -2.0)
    model = tiny_model(batch_tokens=1024)
    names = add_soft_tokens(model, vectors)
    unseen = lessons(names, kinds, np.arange(20, 40), 40, seed=2)
    before = right(model, unseen)
    some = lessons(names, kinds, np.arange(20), 32, seed=1)
    teach(model, some, objective="preferences", epochs=6, batch_size=8, learning_rate=0.03)
    assert before < 0.8 and right(model, unseen) > 0.95
    # The guard: with the kinds of items dealt anew, the same model knows nothing of the unseen.
    mixed = tiny_model(batch_tokens=1024)
    names = add_soft_tokens(mixed, rng.permutation(vectors))
    teach(mixed, lessons(names, kinds, np.arange(20), 32, seed=1), objective="preferences",
          epochs=6, batch_size=8, learning_rate=0.03)  # fmt: skip
    assert right(mixed, lessons(names, kinds, np.arange(20, 40), 40, seed=2)) < 0.8


@pytest.mark.parametrize("adapter_first", [True, False])
def test_it_is_taught_beside_an_adapter(adapter_first, tmp_path):
    model = tiny_model(torch.float32)
    steps = [lambda: add_adapter(model, rank=2), lambda: add_soft_tokens(model, VECTORS)]
    for step in steps if adapter_first else steps[::-1]:
        step()
    trained = {name for name, p in model.model.named_parameters() if p.requires_grad}
    assert any("lora_" in name for name in trained) and any("soft_" in name for name in trained)
    with pytest.raises(ValueError, match="the model has soft tokens"):
        save_adapter(model, tmp_path, name="tiny/llama", users=[1])
    assert not list(tmp_path.iterdir())


def test_an_adapter_goes_into_a_model_with_soft_tokens(tmp_path):
    model = tiny_model(torch.float32)
    add_adapter(model, rank=2)
    save_adapter(model, tmp_path, name="tiny/llama", users=[1])
    other = tiny_model(torch.float32)
    add_soft_tokens(other, VECTORS)
    load_adapter(other, tmp_path)  # its base model is still the same
    trained = [name for name, p in other.model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 and all("soft_projection" in name for name in trained)


def test_a_title_cannot_be_an_item():
    model = tiny_model()
    names = add_soft_tokens(model, VECTORS)
    prompt = fill("likes", likes=[f"the film {names[1]}", "heat"])
    assert max(model.tokens(prompt)) < model.model.get_input_embeddings().n_words


def test_bad_input():
    model = tiny_model()
    for vectors, message in [
        (np.zeros(3), "vectors must be"),
        (np.full((2, 2), np.nan), "nan or infinity"),
        (np.zeros((0, 2)), "vectors must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            add_soft_tokens(model, vectors)
    add_soft_tokens(model, VECTORS)
    with pytest.raises(ValueError, match="has soft tokens already"):
        add_soft_tokens(model, VECTORS)
    longer = tiny_model()
    longer.tokenizer.add_tokens(["<|more|>"])
    with pytest.raises(ValueError, match="the tokenizer has"):
        add_soft_tokens(longer, VECTORS)
