"""Low-rank adapters of a language model: put in, switched off.

A weight matrix W stays as it is, and A (rank, n_in) and B (n_out, rank) are learned beside it:
y = W x + (alpha / rank) B A x (Hu et al. 2022, LoRA, arXiv:2106.09685). B begins at 0, so that an
untaught adapter changes nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from peft import LoraConfig, inject_adapter_in_model

from recsys_tutorial._checks import check_at_least, check_positive
from recsys_tutorial.language._adapted import adapted_layers
from recsys_tutorial.language.model import LanguageModel

__all__ = ["add_adapter", "without_adapter"]


def add_adapter(
    language_model: LanguageModel,
    *,
    rank: int = 8,
    alpha: float = 16.0,
    targets: Sequence[str] = ("q_proj", "v_proj"),
    layers: Sequence[int] | None = None,
    seed: int = 0,
) -> int:
    """Put an adapter into a model, in place. Its parameters require gradients, no word's do.

    Parameters
    ----------
    language_model : LanguageModel
    rank : int >= 1
    alpha : float > 0; what A and B give is multiplied by alpha / rank
    targets : sequence of str, names of linear layers
    layers : sequence of int, at least one, blocks from 0; all by default
    seed : int, of A's random start

    Returns
    -------
    int, how many parameters the adapter has

    Raises
    ------
    ValueError
        For a model that has one, numbers out of range, no layers, and targets or layers that are
        not there.
    """
    check_at_least(1, rank=rank)
    check_positive(alpha=alpha)
    network = language_model.model
    if adapted_layers(network):
        raise ValueError("the model has an adapter already: load the model anew for another one")
    blocks = None if layers is None else sorted({int(layer) for layer in layers})
    if blocks == []:
        raise ValueError("layers is empty: None stands for all of them")
    if missing := set(blocks or ()) - set(range(language_model.n_layers)):
        raise ValueError(f"layers {sorted(missing)} of a model of {language_model.n_layers}")
    there = {name.rsplit(".", 1)[-1] for name, _ in network.named_modules()}
    if unknown := set(targets) - there:
        raise ValueError(f"the model has no layer named {', '.join(sorted(unknown))}")
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=sorted(targets),
        layers_to_transform=blocks,
    )  # fmt: skip
    others = [p for p in network.parameters() if p.requires_grad]  # peft switches them off
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, network)
    n_parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    for parameter in others:
        parameter.requires_grad_(True)
    return n_parameters


@contextlib.contextmanager
def without_adapter(language_model: LanguageModel) -> Iterator[None]:
    """Switch a model's adapter off within the block. Behind it all is as before.

    Parameters
    ----------
    language_model : LanguageModel; one without an adapter stays as it is
    """
    layers = [x for x in adapted_layers(language_model.model) if not x.disable_adapters]
    before = [(p, p.requires_grad) for p in language_model.model.parameters()]
    for layer in layers:  # peft switches gradients off here, and on again below
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for parameter, required in before:
            parameter.requires_grad_(required)
