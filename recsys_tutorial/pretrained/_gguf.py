"""Take a language model's weights and tokenizer out of a GGUF file, as llama.cpp reads it.

The `gguf` package reads the file; here its settings and tensors get the names and the order that
transformers has for a Llama.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

# The parts of a block in llama.cpp, and what transformers calls them.
_PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def convert_llama(folder: Path) -> None:
    """Replace the GGUF file in a folder by what transformers reads: a Llama and its tokenizer.

    Numbers are unpacked from their blocks and kept as float16, whose 11 bits hold a product of
    Q4_1's scale and 4 bits closely; norms stay float32.
    """
    (path,) = folder.glob("*.gguf")
    settings, tensors = _settings_and_tensors(path)
    config = llama_config(settings)
    config["tie_word_embeddings"] = "output.weight" not in tensors
    state = llama_state_dict(tensors, config)
    state = {n: x if x.ndim == 1 else x.astype(np.float16) for n, x in state.items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    files = {"config.json": config, **tokenizer_files(settings)}
    for name, content in files.items():
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
    path.unlink()


def _settings_and_tensors(path: Path) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """Return settings, and tensors unpacked to float32, the last axis fastest as torch has it."""
    from gguf import GGUFReader, dequantize

    reader = GGUFReader(path)
    settings = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {}
    for tensor in reader.tensors:  # copied: Windows deletes no file of which a part is mapped
        values = dequantize(tensor.data, tensor.tensor_type)
        tensors[tensor.name] = np.array(values, np.float32)
    return settings, tensors


def llama_config(settings: dict) -> dict:
    """Return transformers' configuration of a Llama from a GGUF file's settings.

    Parameters
    ----------
    settings : dict
        As GGUF names them.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        For another architecture, and for a setting that is missing.
    """
    if (found := settings.get("general.architecture")) != "llama":
        raise ValueError(f"the GGUF file holds a {found}, not a llama")
    names = {
        "num_hidden_layers": "llama.block_count",
        "hidden_size": "llama.embedding_length",
        "intermediate_size": "llama.feed_forward_length",
        "num_attention_heads": "llama.attention.head_count",
        "num_key_value_heads": "llama.attention.head_count_kv",
        "max_position_embeddings": "llama.context_length",
        "vocab_size": "llama.vocab_size",
        "bos_token_id": "tokenizer.ggml.bos_token_id",
        "eos_token_id": "tokenizer.ggml.eos_token_id",
        "pad_token_id": "tokenizer.ggml.padding_token_id",
    }
    try:
        config = {ours: settings[theirs] for ours, theirs in names.items()}
        base = settings["llama.rope.freq_base"]
        epsilon = settings["llama.attention.layer_norm_rms_epsilon"]
    except KeyError as error:
        raise ValueError(f"the GGUF file's settings lack {error}") from error
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **config,
        "hidden_act": "silu",
        "rope_parameters": {"rope_type": "default", "rope_theta": base},
        "rms_norm_eps": float(f"{epsilon:.6g}"),
        "attention_bias": False,
        "mlp_bias": False,
    }


def llama_state_dict(tensors: dict[str, np.ndarray], config: dict) -> dict[str, np.ndarray]:
    """Return a Llama's tensors under transformers' names.

    llama.cpp rotates neighbouring pairs of numbers, transformers the two halves of a head: queries
    and keys are put back into the halves' order.

    Parameters
    ----------
    tensors : dict of str to ndarray
        As llama.cpp names and orders them.
    config : dict, of `llama_config`

    Returns
    -------
    dict of str to ndarray, float32

    Raises
    ------
    ValueError
        For a tensor that a Llama does not have.
    """
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    state = {}
    for name, values in tensors.items():
        place, _, part = name.removesuffix(".weight").rpartition(".")
        if place.startswith("blk.") and part in _PARTS:
            if part in heads:
                pairs = values.reshape(heads[part], -1, 2, values.shape[-1])
                values = pairs.swapaxes(1, 2).reshape(values.shape)
            new = f"model.layers.{place[4:]}.{_PARTS[part]}"
        elif not place and part in _NAMES:
            new = _NAMES[part]
        else:
            raise ValueError(f"the GGUF file has a tensor {name!r}, which no Llama has")
        state[f"{new}.weight"] = np.ascontiguousarray(values)
    return state


def tokenizer_files(settings: dict) -> dict[str, dict]:
    """Return tokenizer.json and tokenizer_config.json of a byte-level BPE from the settings.

    Parameters
    ----------
    settings : dict
        As GGUF names them.

    Returns
    -------
    dict of file name to content

    Raises
    ------
    ValueError
        For another kind of tokenizer than SmolLM's: bytes, and digits one by one.
    """
    kind = settings.get("tokenizer.ggml.model"), settings.get("tokenizer.ggml.pre")
    if kind != ("gpt2", "smollm"):
        raise ValueError(f"the GGUF file's tokenizer {kind} is not read, only ('gpt2', 'smollm')")
    tokens, kinds = settings["tokenizer.ggml.tokens"], settings["tokenizer.ggml.token_type"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    flags["special"] = True
    special = [row for row, kind in enumerate(kinds) if kind == 3]  # 3: control tokens
    added = [{"id": row, "content": tokens[row], **flags} for row in special]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    splits = [{"type": "Digits", "individual_digits": True}, {**byte_level, "use_regex": True}]
    whole = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {token: row for row, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in settings["tokenizer.ggml.merges"]],
        },
    }
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    ids = {ours: settings.get(f"tokenizer.ggml.{name}_token_id") for ours, name in names.items()}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": settings["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        **{f"{name}_token": tokens[row] for name, row in ids.items() if row is not None},
        "chat_template": settings.get("tokenizer.chat_template"),
    }
    return {"tokenizer.json": whole, "tokenizer_config.json": config}
