"""Adapters: what they leave alone, what is written, whom they were taught by, what is refused."""

import json

import numpy as np
import peft
import pytest
import torch
from safetensors import safe_open

from recsys_tutorial.language import (
    Lesson,
    add_adapter,
    load_adapter,
    save_adapter,
    teach,
    users_hash,
    without_adapter,
)
from tests.language.conftest import tiny_model

PROMPTS, ENDS = ["the film", "likes heat:"], [" alien\n", " the matrix\n"]
LESSONS = [Lesson(1, "the film:", (" alien\n",)), Lesson(2, "likes heat:", (" crime\n",))]


def taught(**settings):
    model = tiny_model(torch.float32)
    add_adapter(model, **{"rank": 4, **settings})
    teach(model, LESSONS, epochs=5, learning_rate=0.05)
    return model


@pytest.fixture(scope="module")
def model():
    return taught()


def test_an_untaught_adapter_changes_nothing_and_only_it_can_learn():
    model = tiny_model(torch.float64)
    before = model.log_likelihood(PROMPTS, ENDS)
    n = add_adapter(model, rank=2)
    np.testing.assert_allclose(model.log_likelihood(PROMPTS, ENDS), before, atol=1e-12)
    # q: 32 -> 32 and v: 32 -> 16 in each of three blocks
    assert n == 3 * 2 * ((32 + 32) + (32 + 16))
    trained = [name for name, p in model.model.named_parameters() if p.requires_grad]
    assert trained and all(".lora_" in name for name in trained)


def test_some_blocks_and_other_layers():
    model = tiny_model()
    n = add_adapter(model, rank=2, targets=["down_proj"], layers=np.array([2, 2]))
    assert n == 2 * (48 + 32)
    (name,) = {n.split(".lora_")[0] for n, p in model.model.named_parameters() if p.requires_grad}
    assert name == "model.layers.2.mlp.down_proj"


def test_a_layer_computes_the_equation():
    model = tiny_model(torch.float64)
    plain = tiny_model(torch.float64).model.model.layers[1].self_attn.v_proj
    add_adapter(model, rank=4, alpha=6)
    layer = model.model.model.layers[1].self_attn.v_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.shape == (4, 32) and b.shape == (16, 4)
    torch.nn.init.normal_(b)
    x = torch.randn(3, 32, dtype=torch.float64)
    torch.testing.assert_close(layer(x), plain(x) + 6 / 4 * (x @ a.T) @ b.T)


def test_an_adapter_of_some_blocks_is_loaded_into_them(tmp_path):
    model = taught(layers=[0, 2], alpha=5.0, targets=["k_proj"])
    save_adapter(model, tmp_path, name="tiny/llama", users=[1])
    fresh = tiny_model(torch.float32)
    load_adapter(fresh, tmp_path)
    np.testing.assert_allclose(
        fresh.log_likelihood(PROMPTS, ENDS), model.log_likelihood(PROMPTS, ENDS), atol=0.02
    )
    names = {name for name, _ in fresh.model.named_parameters() if ".lora_" in name}
    assert {name.split(".lora_")[0] for name in names} == {
        f"model.layers.{k}.self_attn.k_proj" for k in (0, 2)
    }


def test_its_start_comes_from_the_seed():
    def start(seed):
        model = tiny_model()
        torch.manual_seed(seed + 17)  # what was drawn before does not matter
        add_adapter(model, seed=seed)
        return torch.cat([p.flatten() for p in model.model.parameters() if p.requires_grad])

    torch.testing.assert_close(start(1), start(1))
    assert (start(1) - start(2)).abs().max() > 1e-3


def test_it_can_be_switched_off_for_a_while(model):
    plain = tiny_model(torch.float32).log_likelihood(PROMPTS, ENDS)
    own = model.log_likelihood(PROMPTS, ENDS)
    assert np.abs(own - plain).max() > 0.1
    trained = [name for name, p in model.model.named_parameters() if p.requires_grad]
    with without_adapter(model):
        np.testing.assert_allclose(model.log_likelihood(PROMPTS, ENDS), plain, atol=1e-4)
    np.testing.assert_allclose(model.log_likelihood(PROMPTS, ENDS), own, atol=1e-6)
    assert trained == [name for name, p in model.model.named_parameters() if p.requires_grad]
    untouched = tiny_model(torch.float32)
    with without_adapter(untouched):
        np.testing.assert_allclose(untouched.log_likelihood(PROMPTS, ENDS), plain, atol=1e-6)


def required(model):
    return {name: p.requires_grad for name, p in model.model.named_parameters()}


@pytest.mark.parametrize("trainable", [False, True])
def test_what_requires_gradients_is_as_before_behind_the_block(model, tmp_path, trainable):
    save_adapter(model, tmp_path, name="tiny/llama", users=[1])
    fresh = tiny_model(torch.float32)
    load_adapter(fresh, tmp_path, trainable=trainable)
    before = required(fresh)
    assert any(before.values()) == trainable
    with without_adapter(fresh):
        pass
    assert required(fresh) == before


def test_one_block_in_another_leaves_it_off(model):
    plain = tiny_model(torch.float32).log_likelihood(PROMPTS, ENDS)
    before = required(model)
    with without_adapter(model):
        with without_adapter(model):
            pass
        np.testing.assert_allclose(model.log_likelihood(PROMPTS, ENDS), plain, atol=1e-4)
    assert np.abs(model.log_likelihood(PROMPTS, ENDS) - plain).max() > 0.1
    assert required(model) == before


def test_saved_and_loaded_it_says_the_same(model, tmp_path):
    save_adapter(model, tmp_path, name="tiny/llama", users=[2, 1, 2], settings={"epochs": 5})
    fresh = tiny_model(torch.float32)
    info = load_adapter(fresh, tmp_path)
    # float16 keeps three digits; an adapter that was not loaded is off by more than 0.1
    np.testing.assert_allclose(
        fresh.log_likelihood(PROMPTS, ENDS), model.log_likelihood(PROMPTS, ENDS), atol=0.02
    )
    assert info["users"] == 2 and info["users sha256"] == users_hash([1, 2])
    assert info["base"] == "tiny/llama" and info["settings"] == {"epochs": 5}
    assert not any(p.requires_grad for p in fresh.model.parameters())


def test_a_saved_adapter_is_taught_further(model, tmp_path):
    save_adapter(model, tmp_path, name="tiny/llama", users=[1])
    fresh = tiny_model(torch.float32)
    load_adapter(fresh, tmp_path, trainable=True)
    before = fresh.log_likelihood(PROMPTS, ENDS)
    trained = [name for name, p in fresh.model.named_parameters() if p.requires_grad]
    assert trained == [name for name, p in model.model.named_parameters() if p.requires_grad]
    teach(fresh, LESSONS, learning_rate=0.05)
    assert np.abs(fresh.log_likelihood(PROMPTS, ENDS) - before).max() > 0.01


def test_peft_reads_the_files_and_gets_the_same(model, tmp_path):
    save_adapter(model, tmp_path, name="tiny/llama", users=[1])
    theirs = peft.PeftModel.from_pretrained(tiny_model(torch.float32).model, tmp_path)
    ours = tiny_model(torch.float32)
    load_adapter(ours, tmp_path)
    tokens = torch.tensor([ours.tokens("likes heat: the matrix")])
    with torch.no_grad():
        expected, found = theirs(tokens).logits, ours.model(tokens).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_the_files_are_small_and_name_no_folder(model, tmp_path):
    save_adapter(model, tmp_path / "a", name="tiny/llama", users=[1])
    model.model.config._name_or_path = "/home/somebody/models/x"
    save_adapter(model, tmp_path / "b", name="tiny/llama", users=[1])
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
    }
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        one, other = ((tmp_path / folder / name).read_bytes() for folder in "ab")
        assert one == other and b"somebody" not in one
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "tiny/llama"
    with safe_open(tmp_path / "a" / "adapter_model.safetensors", "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118


def test_other_weights_are_refused(model, tmp_path):
    save_adapter(model, tmp_path, name="tiny/llama", users=[1])
    with pytest.raises(ValueError, match=r"taught on weights of tiny/llama with the hash \w{12}, "):
        load_adapter(tiny_model(torch.float32, seed=1), tmp_path)
    other = tiny_model(torch.float32, seed=1)
    load_adapter(other, tmp_path, same_base=False)
    assert other.log_likelihood(PROMPTS, ENDS).shape == (2,)


def test_a_damaged_or_foreign_file_is_refused(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_adapter(tiny_model(), tmp_path)
    save_adapter(model, tmp_path, name="tiny/llama", users=[1])
    path = tmp_path / "adapter_model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="damaged"):
        load_adapter(tiny_model(torch.float32), tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"lora_alpha": 160.0},
        {"r": 8},
        {"target_modules": ["q_proj"]},
        {"layers_to_transform": [0, 1]},
    ],
)
def test_settings_that_the_numbers_were_not_saved_with_are_refused(model, tmp_path, changed):
    save_adapter(model, tmp_path, name="tiny/llama", users=[1])
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | changed), encoding="utf-8")
    fresh = tiny_model(torch.float32)
    with pytest.raises(ValueError, match=rf"does not fit: its {next(iter(changed))} is .*, not "):
        load_adapter(fresh, tmp_path)
    path.write_text(json.dumps(config), encoding="utf-8")
    assert load_adapter(fresh, tmp_path)["adapter"]["lora_alpha"] == 16


@pytest.mark.parametrize("content", ['{"r": 4', "[4]"])
def test_settings_that_are_no_settings_are_refused(model, tmp_path, content):
    save_adapter(model, tmp_path, name="tiny/llama", users=[1])
    (tmp_path / "adapter_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"adapter_config\.json is damaged"):
        load_adapter(tiny_model(torch.float32), tmp_path)


def test_a_model_that_an_adapter_does_not_fit_stays_what_it_was(model, tmp_path):
    save_adapter(model, tmp_path / "two", name="tiny/llama", users=[1])
    narrow = tiny_model(torch.float32)
    narrow.model.requires_grad_(False)
    narrow.model.lm_head.requires_grad_(True)
    block = narrow.model.model.layers[1].mlp
    block.down_proj = torch.nn.Linear(48, 31, bias=False).requires_grad_(False)
    other = tiny_model(torch.float32)
    add_adapter(other, targets=["down_proj"])
    save_adapter(other, tmp_path / "one", name="tiny/llama", users=[1])
    parts, before = list(map(id, narrow.model.modules())), required(narrow)
    with pytest.raises(ValueError, match="does not fit the model"):
        load_adapter(narrow, tmp_path / "one", same_base=False)
    assert list(map(id, narrow.model.modules())) == parts
    assert required(narrow) == before
    load_adapter(narrow, tmp_path / "two", same_base=False)  # one that fits goes in


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank"),
        ({"alpha": 0.0}, "alpha"),
        ({"targets": ["w_proj"]}, "no layer named w_proj"),
        ({"layers": [0, 3]}, r"layers \[3\] of a model of 3"),
        ({"layers": []}, "layers is empty"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        add_adapter(tiny_model(), **settings)


def test_what_has_no_adapter_or_one_already(model, tmp_path):
    with pytest.raises(ValueError, match="has an adapter already"):
        add_adapter(model)
    with pytest.raises(ValueError, match="no adapter to save"):
        save_adapter(tiny_model(), tmp_path, name="x", users=[1])
    with pytest.raises(ValueError, match="no user"):
        save_adapter(model, tmp_path, name="x", users=[])
    assert not list(tmp_path.iterdir())


def test_hash_of_users_by_hand():
    import hashlib

    assert users_hash([10, 9]) == hashlib.sha256(b"9\n10\n").hexdigest()
    assert users_hash(np.array([9, 10, 10])) == users_hash([10, 9])
    assert users_hash([9]) != users_hash([9, 10])
