"""The layers that an adapter was put into: found, and put back."""

from __future__ import annotations

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn


def adapted_layers(network: nn.Module) -> list[BaseTunerLayer]:
    """Layers that an adapter was put into."""
    return [part for part in network.modules() if isinstance(part, BaseTunerLayer)]


def take_adapter_out(network: nn.Module) -> None:
    """Put the layers back that `add_adapter` put its own around."""
    wrapped = [(n, x) for n, x in network.named_modules() if isinstance(x, BaseTunerLayer)]
    for name, layer in wrapped:
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, layer.get_base_layer())
    del network.peft_config
