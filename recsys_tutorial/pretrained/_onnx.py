"""Take a vision transformer's weights out of an ONNX file, without an ONNX library.

The packaged mirror of the DINOv2 ViT is an ONNX graph. Reading its weights takes the few fields of
four protobuf messages, once per machine, so this module reads them by itself: `onnx` would bring
its own protobuf release into an environment where other packages already chose theirs. The tests
hold the result against `onnx` and against `onnxruntime` running the original graph.
"""

from collections.abc import Iterator

import numpy as np

__all__ = ["DINOV2_SMALL_CONFIG", "dinov2_state_dict", "read_onnx"]

# timm's description of the model, as its own hub folder has it: architecture and preprocessing.
DINOV2_SMALL_CONFIG = {
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

_FLOAT = 1  # TensorProto.DataType


def _varint(buffer: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = buffer[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _fields(buffer: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of one protobuf message; lengths are checked."""
    at = 0
    while at < len(buffer):
        key, at = _varint(buffer, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(buffer, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(buffer, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(buffer):
            raise IndexError
        yield key >> 3, buffer[at : at + size]
        at += size


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8")


def _tensor(buffer: memoryview) -> tuple[str, np.ndarray | None]:
    """Return name and values of a TensorProto; None for what is not raw float32."""
    name, kind, dims, raw = "", None, [], None
    for field, value in _fields(buffer):
        if field == 1 and isinstance(value, int):
            dims.append(value)
        elif field == 1:  # the packed form of the same list
            at = 0
            while at < len(value):
                dim, at = _varint(value, at)
                dims.append(dim)
        elif field == 2:
            kind = value
        elif field == 8:
            name = _text(value)
        elif field == 9:
            raw = value
    if kind != _FLOAT or raw is None:
        return name, None
    return name, np.frombuffer(raw, "<f4").reshape(dims)


def read_onnx(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the float32 initializers of an ONNX graph and who multiplies by which.

    Parameters
    ----------
    data : bytes
        The whole file (ModelProto).

    Returns
    -------
    tensors : dict of str to ndarray, float32
        The graph's initializers by name; views into `data`.
    matmuls : dict of str to str
        For each MatMul node, by the node's name: the name of its second input.

    Raises
    ------
    ValueError
        When the bytes are no ONNX model or end too early.
    """
    tensors, matmuls = {}, {}
    try:
        graphs = [value for field, value in _fields(memoryview(data)) if field == 7]
        for field, value in _fields(graphs[0]):
            if field == 5:
                name, array = _tensor(value)
                if array is not None:
                    tensors[name] = array
            elif field == 1:
                node = list(_fields(value))
                if any(f == 4 and v == b"MatMul" for f, v in node):
                    name = next(_text(v) for f, v in node if f == 3)
                    matmuls[name] = _text([v for f, v in node if f == 1][1])
    except (IndexError, ValueError, TypeError, StopIteration) as error:
        raise ValueError(f"not an ONNX model, or cut off ({len(data):,} bytes)") from error
    return tensors, matmuls


def dinov2_state_dict(data: bytes, n_blocks: int = 12) -> dict[str, np.ndarray]:
    """Return the DINOv2 backbone of an ONNX graph under timm's names.

    The exporter kept the names of biases, norms and embeddings. Weight matrices lost theirs and
    were transposed (x @ W instead of W x): each is found through the MatMul node that uses it.

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
        When the graph lacks one of the backbone's parts.
    """
    tensors, matmuls = read_onnx(data)

    def weight(node: str) -> np.ndarray:
        return tensors[matmuls[f"/backbone/encoder/{node}/MatMul"]].T

    try:
        embeddings = "backbone.embeddings."
        patch = f"{embeddings}patch_embeddings.projection."
        state = {
            "cls_token": tensors[f"{embeddings}cls_token"],
            "pos_embed": _position_embeddings(tensors),
            "patch_embed.proj.weight": tensors[f"{patch}weight"],
            "patch_embed.proj.bias": tensors[f"{patch}bias"],
            "norm.weight": tensors["backbone.layernorm.weight"],
            "norm.bias": tensors["backbone.layernorm.bias"],
        }
        for n in range(n_blocks):
            old, new = f"backbone.encoder.layer.{n}.", f"blocks.{n}."
            attention = f"layer.{n}/attention/attention/"
            parts = ("query", "key", "value")
            state[f"{new}attn.qkv.weight"] = np.concatenate([weight(attention + p) for p in parts])
            state[f"{new}attn.qkv.bias"] = np.concatenate(
                [tensors[f"{old}attention.attention.{p}.bias"] for p in parts]
            )
            state[f"{new}attn.proj.weight"] = weight(f"layer.{n}/attention/output/dense")
            state[f"{new}attn.proj.bias"] = tensors[f"{old}attention.output.dense.bias"]
            for layer in ("fc1", "fc2"):
                state[f"{new}mlp.{layer}.weight"] = weight(f"layer.{n}/mlp/{layer}")
                state[f"{new}mlp.{layer}.bias"] = tensors[f"{old}mlp.{layer}.bias"]
            for i in (1, 2):
                state[f"{new}ls{i}.gamma"] = tensors[f"{old}layer_scale{i}.lambda1"]
                for kind in ("weight", "bias"):
                    state[f"{new}norm{i}.{kind}"] = tensors[f"{old}norm{i}.{kind}"]
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
