"""The network of the cross-encoder: who looks at whom, and what is computed once for a user."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

from recsys_tutorial import pretrained
from recsys_tutorial._checks import check_one_of
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.encoders.networks import length_batches
from recsys_tutorial.models.pair_layout import PairLayout

KeysAndValues = tuple[Tensor, Tensor]  # (batch, n_heads, n_tokens, dim / n_heads) each


class PairNetwork(nn.Module):
    """score = w . tanh(W h + b) + c, with h from BERT; see `CrossEncoder`, which trains it."""

    def __init__(
        self,
        name: str | os.PathLike = "all-MiniLM-L6-v2",
        *,
        attention: str = "full",
        layer: int = -1,
        last_blocks: int | str = 2,
        lora_rank: int | None = None,
        max_user_tokens: int = 128,
        max_tokens: int = 256,
        dropout: float = 0.1,
        seed: int = 0,
        device: str | torch.device | None = None,
    ):
        super().__init__()
        check_one_of(("full", "prefix"), attention=attention)
        encoder = TextEncoder(name, layer=layer, device=device, use_cache=False)
        self.attention, self.batch_tokens = attention, 2048
        self.layout = PairLayout(encoder.tokenizer, max_user_tokens, max_tokens)
        self.bert, self.pooler = encoder.model, nn.Linear(encoder.dim, encoder.dim)  # W, b
        _load_pooler(self.pooler, pretrained.text_encoder(name))
        self.dropout, self.classifier = nn.Dropout(dropout), nn.Linear(encoder.dim, 1)  # w, c
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            nn.init.normal_(self.classifier.weight, std=0.02)
            nn.init.zeros_(self.classifier.bias)
            if lora_rank is not None:
                encoder.add_lora(lora_rank, ["query", "key", "value", "dense"], blocks=last_blocks)
                self.bert = encoder.model.get_base_model()  # with the updates in it
            elif last_blocks:
                encoder.unfreeze(last_blocks)
        for part in self.bert.modules():
            if isinstance(part, nn.Dropout):
                part.p = dropout
        self.description = {
            **encoder.settings, "attention": attention, "last_blocks": last_blocks,
            "lora_rank": lora_rank, "max_user_tokens": max_user_tokens,
        }  # fmt: skip
        self.eval().to(encoder.device)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.classifier.weight.device

    @property
    def n_trainable(self) -> int:
        """Parameters that an optimizer would change."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    @property
    def blocks(self) -> nn.ModuleList:
        """BERT's blocks, from below."""
        return self.bert.encoder.layer

    def forward(
        self, users: Sequence[np.ndarray], owner: np.ndarray, items: Sequence[np.ndarray]
    ) -> Tensor:
        """Scores (n,) of pairs, with gradients.

        Parameters
        ----------
        users, items : sequences of int ndarray, token numbers as `PairLayout` gives them; an item
            for each pair
        owner : int ndarray (n,), which of the users each pair is of
        """
        read = self._keys_of_users(users) if self.attention == "prefix" else None
        lengths = np.array(list(map(len, items)))
        if read is None:
            lengths = lengths + np.array(list(map(len, users)))[owner]
        batches, pooled = list(length_batches(lengths + 3, self.batch_tokens)), []
        for rows in batches:
            texts = [items[row] for row in rows]
            if read is None:
                hidden = self._read_together([users[owner[row]] for row in rows], texts)
            else:
                hidden = self._continued(*read, owner[rows], texts)  # (batch, dim)
            pooled.append(torch.tanh(self.pooler(hidden)))
        scores = self.classifier(self.dropout(torch.cat(pooled)))[:, 0]  # (n,)
        order = np.argsort(np.concatenate(batches))
        return scores[torch.from_numpy(order).to(scores.device)]

    def _read_together(self, users: Sequence[np.ndarray], items: Sequence[np.ndarray]) -> Tensor:
        """The vector h of [CLS], where all tokens look at each other: (batch, dim)."""
        batch = self._on_device(self.layout.sequences(users, items))
        real = batch.pop("attention_mask") > 0
        x = self.bert.embeddings(**batch)  # (batch, n_tokens, dim)
        return self._through_blocks(x, real, torch.zeros_like(batch["input_ids"][:, 0]))

    def _keys_of_users(self, users: Sequence[np.ndarray]) -> tuple[list[KeysAndValues], Tensor]:
        """Keys and values of [CLS] user [SEP] in each block, and which of them are tokens."""
        batch, kept = self._on_device(self.layout.prefixes(users)), []
        real = batch["attention_mask"] > 0
        x = self.bert.embeddings(input_ids=batch["input_ids"])  # (n_users, n_tokens, dim)
        for block in self.blocks:
            x, own = run_block(block, x, real[:, None, None])
            kept.append(own)
        return kept, real

    def _continued(self, kept: list[KeysAndValues], read: Tensor, owner, items) -> Tensor:
        """The vector h of the last [SEP], item [SEP] after `_keys_of_users`: (batch, dim)."""
        owner = torch.from_numpy(owner).to(self.device)
        batch = self._on_device(self.layout.suffixes(items))
        ids, real = batch["input_ids"], batch["attention_mask"]
        starts = read.sum(1)[owner, None]  # the candidate goes on where its user ended
        places = starts + torch.arange(ids.shape[1], device=self.device)  # (batch, n_tokens)
        segments = torch.ones_like(ids)
        x = self.bert.embeddings(input_ids=ids, token_type_ids=segments, position_ids=places)
        mask = torch.cat([read[owner], real > 0], 1)  # (batch, n_user + n_item tokens)
        before = ((keys[owner], values[owner]) for keys, values in kept)  # a block at a time
        return self._through_blocks(x, mask, real.sum(1) - 1, before)

    def _through_blocks(self, x: Tensor, mask: Tensor, only: Tensor, before=None) -> Tensor:
        """The vector (batch, dim) of token `only` of each row after all blocks."""
        mask = None if bool(mask.all()) else mask[:, None, None]  # without padding none is needed
        for block, kept in zip(self.blocks, before or itertools.repeat(None), strict=False):
            # Above the last block nobody looks at the other tokens: only one of them is needed.
            x, _ = run_block(block, x, mask, kept, only if block is self.blocks[-1] else None)
        return x[:, 0]

    def _on_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: values.to(self.device) for name, values in batch.items()}


def run_block(block, x, mask, before=None, only=None) -> tuple[Tensor, KeysAndValues]:
    """One block of BERT, from its own linear layers (Vaswani et al. 2017; Devlin et al. 2019).

    Parameters
    ----------
    block : BertLayer of transformers
    x : Tensor (batch, n_tokens, dim)
    mask : bool Tensor (batch, 1, 1, n_keys), True where a token may be looked at, or None
    before : keys and values (batch, n_heads, n_before, dim / n_heads) of tokens that stand before
        x; they are looked at, and do not look back
    only : int Tensor (batch,), the one token of each row that is wanted

    Returns
    -------
    Tensor (batch, n_tokens or 1, dim), and x's own keys and values
    """
    attention = block.attention.self

    def heads(y: Tensor) -> Tensor:
        return y.unflatten(2, (attention.num_attention_heads, -1)).transpose(1, 2)

    own = heads(attention.key(x)), heads(attention.value(x))  # (batch, n_heads, n_tokens, d) each
    keys, values = own
    if before is not None:
        keys = torch.cat([before[0], keys], 2)
        values = torch.cat([before[1], values], 2)
    if only is not None:
        x = x[torch.arange(len(x), device=x.device), only][:, None]  # (batch, 1, dim)
    queries = heads(attention.query(x))
    found = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    x = block.attention.output(found.transpose(1, 2).flatten(2), x)  # adds x, then normalises
    return block.output(block.intermediate(x), x), own


def _load_pooler(pooler: nn.Linear, folder: Path) -> None:
    """Start from the pretrained pooler where the file has one."""
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        names = {name.removeprefix("bert."): name for name in file.keys()}  # noqa: SIM118
        if "pooler.dense.weight" in names:
            with torch.no_grad():
                pooler.weight.copy_(file.get_tensor(names["pooler.dense.weight"]))
                pooler.bias.copy_(file.get_tensor(names["pooler.dense.bias"]))
