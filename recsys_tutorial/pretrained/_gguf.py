"""Take a language model's weights and tokenizer out of a GGUF file, without a GGUF library.

The packaged copy of SmolLM2 is a GGUF file, as llama.cpp reads it: a table of settings, then
tensors in blocks of 32 numbers that share a scale (and, in Q4_1, a smallest value). Reading it
takes little code and once per machine, so no further package is asked for. The tests hold the
result against blocks packed by hand, and by the `gguf` package where that is installed.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3, little-endian.
"""

import json
import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

# Settings: the number of a type -> its format. 8 is text, 9 an array.
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
# Tensors: the number of a type -> its block's length, and the block's fields.
_BLOCKS = {
    0: (1, np.dtype([("x", "<f4", 1)])),  # F32
    1: (1, np.dtype([("x", "<f2", 1)])),  # F16
    3: (32, np.dtype([("scale", "<f2"), ("least", "<f2"), ("nibbles", "u1", 16)])),  # Q4_1
    8: (32, np.dtype([("scale", "<f2"), ("whole", "i1", 32)])),  # Q8_0
}
_ALIGNMENT = 32

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
    settings, tensors = read_gguf(path.read_bytes())
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


def read_gguf(data: bytes) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """Read a GGUF file's settings and tensors.

    Parameters
    ----------
    data : bytes
        The whole file, of version 2 or 3.

    Returns
    -------
    settings : dict of str to number, bool, str or list of these
    tensors : dict of str to ndarray, float32
        Shapes as torch has them: the last axis runs fastest.

    Raises
    ------
    ValueError
        When the bytes are no GGUF file, end too early, or hold a kind of block that is not read.
    """
    if data[:4] != b"GGUF":
        raise ValueError(f"not a GGUF file ({len(data):,} bytes)")
    try:
        return _read(_Bytes(data))
    except (struct.error, UnicodeDecodeError, IndexError, KeyError) as error:
        raise ValueError(f"the GGUF file is damaged or cut off ({len(data):,} bytes)") from error


class _Bytes:
    """Bytes and how far they are read."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 4

    def take(self, kind: str):
        (value,) = struct.unpack_from(f"<{kind}", self.data, self.at)
        self.at += struct.calcsize(f"<{kind}")
        return value

    def text(self) -> str:
        size = self.take("Q")
        self.at += size
        if self.at > len(self.data):
            raise IndexError
        return self.data[self.at - size : self.at].decode()

    def value(self, kind: int):
        if kind == 8:
            return self.text()
        if kind == 9:
            inner, size = self.take("I"), self.take("Q")
            return [self.value(inner) for _ in range(size)]
        return self.take(_SCALARS[kind])


def _read(source: _Bytes) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    if (version := source.take("I")) not in (2, 3):
        raise ValueError(f"GGUF of version {version} is not read, only 2 and 3")
    n_tensors, n_settings = source.take("Q"), source.take("Q")
    settings = {}
    for _ in range(n_settings):
        name = source.text()
        settings[name] = source.value(source.take("I"))
    places = []
    for _ in range(n_tensors):
        name, n_axes = source.text(), source.take("I")
        shape = [source.take("Q") for _ in range(n_axes)][::-1]
        places.append((name, shape, source.take("I"), source.take("Q")))
    step = settings.get("general.alignment", _ALIGNMENT)
    start = -(-source.at // step) * step
    tensors = {}
    for name, shape, kind, offset in places:
        if kind not in _BLOCKS:
            raise ValueError(f"tensor {name} is of GGUF's kind {kind}, which is not read")
        tensors[name] = _unpack(source.data, start + offset, kind, shape)
    return settings, tensors


def _unpack(data: bytes, start: int, kind: int, shape: list[int]) -> np.ndarray:
    """Numbers of one tensor, float32."""
    length, fields = _BLOCKS[kind]
    n_blocks = int(np.prod(shape)) // length
    if start + n_blocks * fields.itemsize > len(data):
        raise IndexError
    blocks = np.frombuffer(data, fields, n_blocks, start)
    if length == 1:
        return blocks["x"].astype(np.float32).reshape(shape)
    scale = blocks["scale"].astype(np.float32)[:, None]  # (n_blocks, 1)
    if kind == 8:
        return (scale * blocks["whole"]).reshape(shape)
    low, high = blocks["nibbles"] & 15, blocks["nibbles"] >> 4  # (n_blocks, 16) each
    least = blocks["least"].astype(np.float32)[:, None]
    return (scale * np.hstack([low, high]) + least).astype(np.float32).reshape(shape)


def llama_config(settings: dict) -> dict:
    """Return transformers' configuration of a Llama from a GGUF file's settings.

    Parameters
    ----------
    settings : dict, of `read_gguf`

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
    tensors : dict of str to ndarray, of `read_gguf`
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
    settings : dict, of `read_gguf`

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
    special = [row for row, kind in enumerate(kinds) if kind == 3]  # 3: control tokens
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [{"id": n, "content": tokens[n], **flags, "special": True} for n in special]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    whole = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {**byte_level, "use_regex": True},
            ],
        },
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
