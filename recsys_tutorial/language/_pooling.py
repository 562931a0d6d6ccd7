"""One vector for each text: the states of its tokens after a block, pooled."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from recsys_tutorial.language._states import device_of


def pooled_states(
    network: nn.Module, tokens: list[list[int]], layer: int, pooling: str
) -> np.ndarray:
    """Vectors (n, dim) of some texts' tokens after `layer` blocks: "mean" or "last"."""
    lengths = torch.tensor([len(ids) for ids in tokens])
    width = int(lengths.max())
    ids = torch.tensor([row + [0] * (width - len(row)) for row in tokens])
    there = torch.arange(width) < lengths[:, None]  # (b, width)
    states = network.base_model(
        input_ids=ids.to(device_of(network)),
        attention_mask=there.long().to(device_of(network)),
        output_hidden_states=True,
        use_cache=False,
    ).hidden_states[layer]  # (b, width, dim)
    weight = there.to(states)
    if pooling == "last":
        weight = weight * (weight.cumsum(1) == weight.sum(1, keepdim=True))
    pooled = (states * weight[:, :, None]).sum(1) / weight.sum(1, keepdim=True)
    return pooled.float().cpu().numpy()
