"""Take a vision transformer's weights out of an ONNX file, without an ONNX library.

The packaged mirror of the DINOv2 ViT is an ONNX graph. Reading its weights takes the few fields of
four protobuf messages, once per machine, so this module reads them by itself: `onnx` would bring
its own protobuf release into an environment where other packages already chose theirs. The tests
hold the result against `onnx` and against `onnxruntime` running the original graph.
"""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

# timm's description of the model, as its own hub folder has it: architecture and preprocessing.
_CONFIG = {
    "architecture": "vit_small_patch14_dinov2",
    "num_classes": 0,
    "num_features": 384,
    "pretrained_cfg": {
        "tag": "lvd142m",
        "input_size": [3, 518, 518],
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "num_classes": 0,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        "license": "apache-2.0",
    },
}
# The parts of a block in timm, and what transformers calls them. Linear layers have a weight and a
# bias, and timm stacks three of them.
_LINEAR = {
    "attn.qkv": [f"attention.attention.{part}" for part in ("query", "key", "value")],
    "attn.proj": ["attention.output.dense"],
    "mlp.fc1": ["mlp.fc1"],
    "mlp.fc2": ["mlp.fc2"],
}
_VECTORS = {
    **{f"norm{i}.{kind}": f"norm{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")},
    **{f"ls{i}.gamma": f"layer_scale{i}.lambda1" for i in (1, 2)},
}


def convert_dinov2(folder: Path) -> None:
    """Replace the ONNX graph in a folder by its backbone, in the format of timm's hub folders."""
    graph = folder / "vit_s_focus.onnx"
    state = dinov2_state_dict(graph.read_bytes())
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(_CONFIG, indent=2) + "\n")
    graph.unlink()


def dinov2_state_dict(data: bytes, n_blocks: int = 12) -> dict[str, np.ndarray]:
    """Return the DINOv2 backbone of an ONNX graph under timm's names.

    The exporter kept the names of biases, norms and embeddings. Weight matrices were transposed
    (x @ W instead of W x) and lost theirs: each is found through the MatMul node that uses it.

    Parameters
    ----------
    data : bytes
        An ONNX file whose ``backbone`` is a DINOv2 of transformers.
    n_blocks : int
        Transformer blocks to take.

    Returns
    -------
    dict of str to ndarray, float32
        State dict of timm's ``vit_small_patch14_dinov2``; position embeddings on their native grid.

    Raises
    ------
    ValueError
        When the bytes are no ONNX model, or the graph lacks one of the backbone's parts.
    """
    tensors, factors = read_onnx(data)
    state, patch = {}, "backbone.embeddings.patch_embeddings.projection"
    try:
        state["cls_token"] = tensors["backbone.embeddings.cls_token"]
        state["pos_embed"] = _position_embeddings(tensors)
        for kind in ("weight", "bias"):
            state[f"patch_embed.proj.{kind}"] = tensors[f"{patch}.{kind}"]
            state[f"norm.{kind}"] = tensors[f"backbone.layernorm.{kind}"]
        for n in range(n_blocks):
            old, new = f"backbone.encoder.layer.{n}", f"blocks.{n}"
            for name, parts in _LINEAR.items():
                nodes = [f"/backbone/encoder/layer.{n}/{x.replace('.', '/')}/MatMul" for x in parts]
                weights = [tensors[factors[node]].T for node in nodes]
                biases = [tensors[f"{old}.{part}.bias"] for part in parts]
                state[f"{new}.{name}.weight"] = np.concatenate(weights)
                state[f"{new}.{name}.bias"] = np.concatenate(biases)
            for name, part in _VECTORS.items():
                state[f"{new}.{name}"] = tensors[f"{old}.{part}"]
    except KeyError as error:
        raise ValueError(f"the ONNX graph has no {error}: not a DINOv2 backbone") from error
    return {name: np.ascontiguousarray(array) for name, array in state.items()}


def _position_embeddings(tensors: dict[str, np.ndarray]) -> np.ndarray:
    """Return (1, 1 + grid * grid, dim): the two anonymous constants, the class token's first."""
    cls_token = tensors["backbone.embeddings.cls_token"]
    anonymous = {n: t for n, t in tensors.items() if n.startswith("onnx::") and t.ndim == 3}
    first = [t for t in anonymous.values() if t.shape == cls_token.shape]
    grid = [t for t in anonymous.values() if t.shape != cls_token.shape]
    if len(first) != 1 or len(grid) != 1:
        raise ValueError(f"position embeddings not found among the constants {sorted(anonymous)}")
    return np.concatenate([first[0], grid[0]], axis=1)


def read_onnx(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the float32 initializers of an ONNX graph and who multiplies by which.

    Parameters
    ----------
    data : bytes
        The whole file (ModelProto in onnx.proto, which gives the numbers of the fields).

    Returns
    -------
    tensors : dict of str to ndarray, float32
        The graph's initializers by name; views into `data`.
    factors : dict of str to str
        For each MatMul node, by the node's name: the name of its second input.

    Raises
    ------
    ValueError
        When the bytes are no ONNX model or end too early.
    """
    tensors, factors = {}, {}
    try:
        graph = _fields(_fields(memoryview(data))[7][0])
        for tensor in map(_fields, graph[5]):
            if tensor[2] == [1] and tensor[9]:  # float32, as bytes
                name, values = str(tensor[8][0], "utf-8"), np.frombuffer(tensor[9][0], "<f4")
                tensors[name] = values.reshape(tensor[1])
        for node in map(_fields, graph[1]):
            if node[4] == [b"MatMul"]:
                factors[str(node[3][0], "utf-8")] = str(node[1][1], "utf-8")
    except (LookupError, ValueError, TypeError) as error:
        raise ValueError(f"not an ONNX model, or cut off ({len(data):,} bytes)") from error
    return tensors, factors


def _fields(message: memoryview) -> dict[int, list[int | memoryview]]:
    """Return the values of one protobuf message by the number of their field."""
    fields, at = defaultdict(list), 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = message[at : at + size], at + size
            if at > len(message):
                raise IndexError
        fields[key >> 3].append(value)
    return fields


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the integer that begins at a byte, seven bits in each, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
