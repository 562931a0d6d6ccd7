"""The cross-encoder: user text and item text in one BERT sequence, a score from its last layer."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

from recsys_tutorial import pretrained
from recsys_tutorial._tensor_files import load_tensors, save_tensors
from recsys_tutorial.encoders import TextEncoder
from recsys_tutorial.losses.lists import (
    distillation_loss,
    listwise_loss,
    pairwise_loss,
    pointwise_loss,
)
from recsys_tutorial.models.pair_layout import PairLayout
from recsys_tutorial.training import train as run_training
from recsys_tutorial.training.monitor import model_state, restore_state

__all__ = ["CrossEncoder", "hash_of_users"]

LOSSES = {"pointwise": pointwise_loss, "pairwise": pairwise_loss, "listwise": listwise_loss}
_KIND = "a cross-encoder's adapter"
_USERS = 32  # users whose keys and values are held at a time


class CrossEncoder(nn.Module):
    """score(user, item) = w . tanh(W h + b) + c, with h from BERT([CLS] user [SEP] item [SEP]).

    Every token looks at every other, so the score can depend on how the two texts fit, word by
    word (Nogueira & Cho 2019, arXiv:1901.04085). The price: nothing can be computed ahead for an
    item, and a score costs a pass through the network.

    ``attention="full"``: h is the vector of [CLS] after the last block; with the same weights this
    is sentence-transformers' CrossEncoder. ``attention="prefix"``: the same sequence, but the
    user's tokens do not look at the candidate. Their keys and values are then the same for all
    candidates and are computed once; h is the vector of the last [SEP]. A score costs the
    candidate's tokens only.

    Parameters
    ----------
    name : as in `pretrained.text_encoder`
    attention : "full" or "prefix"
    layer : int, blocks that are kept, counted from below; -1 is all of them
    last_blocks : int or "all", how many of the last blocks are trained (0: only W, b, w and c;
        "all": the embeddings, too)
    lora_rank : int or None; train low-rank updates of those blocks' matrices instead (Hu et al.
        2022, arXiv:2106.09685)
    max_user_tokens, max_tokens : see `PairLayout`
    batch_tokens : int, tokens that are run at a time, padding included
    dropout : float, while training
    seed : int, of the random start of w and of the updates
    device : torch device; by default as in `TextEncoder`

    Attributes
    ----------
    history_ : DataFrame of `fit`; `train_users_` : hash of the users it was fitted on, or None
    """

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
        batch_tokens: int = 2048,
        dropout: float = 0.1,
        seed: int = 0,
        device: str | torch.device | None = None,
    ):
        super().__init__()
        if attention not in ("full", "prefix"):
            raise ValueError(f'attention must be "full" or "prefix", got {attention!r}')
        encoder = TextEncoder(name, layer=layer, device=device, use_cache=False)
        self.bert, self.attention, self.batch_tokens = encoder.model, attention, batch_tokens
        self.layout = PairLayout(encoder.tokenizer, max_user_tokens, max_tokens)
        self.pooler = nn.Linear(encoder.dim, encoder.dim)
        _load_pooler(self.pooler, pretrained.text_encoder(name))
        self.dropout, self.classifier = nn.Dropout(dropout), nn.Linear(encoder.dim, 1)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            nn.init.normal_(self.classifier.weight, std=0.02)
            nn.init.zeros_(self.classifier.bias)
            if lora_rank is None:
                if last_blocks:
                    encoder.unfreeze(last_blocks)
            else:
                _add_lora(self.bert, len(encoder.blocks), last_blocks, lora_rank)
        for part in self.bert.modules():
            if isinstance(part, nn.Dropout):
                part.p = dropout
        self.description = {
            **encoder.settings, "attention": attention, "last_blocks": last_blocks,
            "lora_rank": lora_rank, "max_user_tokens": max_user_tokens,
        }  # fmt: skip
        self.train_users_: str | None = None
        self.eval().to(encoder.device)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.classifier.weight.device

    @property
    def n_trainable(self) -> int:
        """Parameters that an optimizer would change."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def score_pairs(self, users: Sequence[str], items: Sequence[str]) -> np.ndarray:
        """One score for each pair of texts, whatever their order and what else is in the batch.

        Each different text is tokenised once, and pairs of about equal length are run together, so
        that next to nothing is padding.

        Parameters
        ----------
        users, items : sequences of str, equally long; a user's text may be cut at its end, a
            candidate's never is (see `PairLayout`)

        Returns
        -------
        ndarray (n,), float64
        """
        if isinstance(users, str) or isinstance(items, str) or len(users) != len(items):
            raise ValueError("users and items must be two sequences of texts, equally long")
        users, items = self.layout.users(users), self.layout.items(items)
        scores, training = np.zeros(len(users.rows)), self.training
        self.eval()
        try:
            with torch.inference_mode():
                for rows in self._groups(users.rows):
                    numbers, owner = np.unique(users.rows[rows], return_inverse=True)
                    texts = [items.ids[number] for number in items.rows[rows]]
                    found = self([users.ids[number] for number in numbers], owner, texts)
                    scores[rows] = found.double().cpu().numpy()
        finally:
            self.train(training)
        return scores

    def forward(
        self, users: Sequence[np.ndarray], owner: np.ndarray, items: Sequence[np.ndarray]
    ) -> Tensor:
        """Scores (n,), with gradients, of items[p] for users[owner[p]], all as token numbers."""
        read = self._read(users) if self.attention == "prefix" else None
        lengths = np.array([len(ids) for ids in items])
        if read is None:
            lengths = lengths + np.array([len(ids) for ids in users])[owner]
        order = np.argsort(-lengths, kind="stable")  # longest first: memory runs out at once
        pooled = []
        for rows in _cut(order, lengths + 3, self.batch_tokens):
            texts = [items[row] for row in rows]
            if read is None:
                batch = self.layout.sequences([users[owner[row]] for row in rows], texts)
                last = torch.zeros(len(rows), dtype=torch.long)
            else:
                batch = self.layout.suffixes(texts)
                last = batch["attention_mask"].sum(1) - 1
            hidden = self._run(batch, read, owner[rows], last)  # (batch, dim)
            pooled.append(torch.tanh(self.pooler(hidden)))
        scores = self.classifier(self.dropout(torch.cat(pooled)))[:, 0]  # (n,)
        return scores[torch.from_numpy(np.argsort(order)).to(scores.device)]

    def _read(self, users: Sequence[np.ndarray]) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Keys and values of [CLS] user [SEP] in each block, and which of them are tokens."""
        batch = self.layout.prefixes(users)
        ids, real = batch["input_ids"].to(self.device), batch["attention_mask"].to(self.device) > 0
        x, kept = self.bert.embeddings(input_ids=ids), []  # (n_users, n_tokens, dim)
        for block in self.blocks:
            x, own = run_block(block, x, real[:, None, None])
            kept.append(own)
        return kept, real

    def _run(self, batch: dict, read, owner: np.ndarray, last: Tensor) -> Tensor:
        """The vector (batch, dim) of token `last` of each row after all blocks."""
        batch = {name: values.to(self.device) for name, values in batch.items()}
        real, owner = batch["attention_mask"] > 0, torch.from_numpy(owner).to(self.device)
        if read is None:
            options, mask = {"token_type_ids": batch["token_type_ids"]}, real
        else:
            starts = read[1].sum(1)[owner, None]  # the candidate goes on where its user ended
            place = starts + torch.arange(real.shape[1], device=self.device)
            segment = torch.ones_like(place)
            options = {"token_type_ids": segment, "position_ids": place}
            mask = torch.cat([read[1][owner], real], 1)  # (batch, n_user + n_item tokens)
        mask = None if bool(mask.all()) else mask[:, None, None]  # without padding none is needed
        x, blocks = self.bert.embeddings(input_ids=batch["input_ids"], **options), self.blocks
        for number, block in enumerate(blocks):
            before = None if read is None else [part[owner] for part in read[0][number]]
            # Above the last block nobody looks at the other tokens: only one of them is needed.
            only = last.to(self.device) if number == len(blocks) - 1 else None
            x, _ = run_block(block, x, mask, before, only)
        return x[:, 0]

    @property
    def blocks(self) -> nn.ModuleList:
        """BERT's blocks, from below."""
        return self.bert.encoder.layer

    def fit(
        self,
        users: Sequence[str],
        items: Sequence[str],
        candidates: np.ndarray,
        labels: np.ndarray,
        *,
        loss: str = "listwise",
        teacher: np.ndarray | None = None,
        distill: float = 0.5,
        user_ids: Sequence[int] | None = None,
        epochs: int = 1,
        batch_size: int = 2,
        learning_rate=None,
        validation: Callable[[CrossEncoder], float] | None = None,
        **options,
    ) -> CrossEncoder:
        """Learn to order lists of candidates, such as those that a retriever really proposes.

        Parameters
        ----------
        users : sequence of str, one per list
        items : sequence of str, texts that `candidates` points into
        candidates : int ndarray (n_lists, list_size)
        labels : ndarray (n_lists, list_size), 1 where liked, else 0
        loss : "pointwise", "pairwise" or "listwise"
        teacher : ndarray (n_lists, list_size), another model's scores, or None
        distill : weight of `distillation_loss` where there is a teacher; 1 - distill is the loss's
        user_ids : whose lists they are; `train_users_` keeps their hash
        learning_rate : by default 5e-4 for low-rank updates and 5e-5 for blocks, 1e-3 for the rest
        epochs, batch_size (lists), validation, **options : see `training.train`; with `checkpoint`
            a run that was killed goes on
        """
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {list(LOSSES)}, got {loss!r}")
        candidates, labels = np.asarray(candidates), torch.as_tensor(np.asarray(labels, float))
        shape = (len(users), candidates.shape[-1])
        teacher = None if teacher is None else torch.as_tensor(np.asarray(teacher))
        for what, values in (("candidates", candidates), ("labels", labels), ("teacher", teacher)):
            if values is not None and tuple(values.shape) != shape:
                raise ValueError(f"{what} must be {shape}, got {tuple(values.shape)}")
        used, place = np.unique(candidates, return_inverse=True)
        place = place.reshape(shape)
        read = self.layout.users(users)
        texts = self.layout.items([items[row] for row in used])

        def objective(model: CrossEncoder, rows: np.ndarray, rng) -> Tensor:
            numbers, owner = np.unique(read.rows[rows], return_inverse=True)
            pairs = [texts.ids[texts.rows[p]] for p in place[rows].ravel()]
            owner = np.repeat(owner, shape[1])
            scores = model([read.ids[n] for n in numbers], owner, pairs).reshape(len(rows), -1)
            value = LOSSES[loss](scores, labels[rows].to(scores))
            if teacher is None:
                return value
            return (1 - distill) * value + distill * distillation_loss(scores, teacher[rows])

        if learning_rate is None:
            rate = 5e-5 if self.description["lora_rank"] is None else 5e-4
            learning_rate = {"": 1e-3, "bert": rate}
        self.history_ = run_training(
            self, objective, len(users), epochs=epochs, batch_size=batch_size,
            learning_rate=learning_rate, validation=validation, **options,
        )  # fmt: skip
        self.train_users_ = None if user_ids is None else hash_of_users(user_ids)
        return self

    def save(self, path: str | os.PathLike, notes: dict | None = None) -> None:
        """Write what was trained, and the hash of whom it was trained on, to a safetensors file."""
        info = {"kind": _KIND, "model": self.description, "train_users": self.train_users_}
        save_tensors(path, model_state(self), {**info, "notes": notes or {}})

    def load(self, path: str | os.PathLike) -> CrossEncoder:
        """Read what `save` wrote into a model that was built with the same settings; return self.

        Raises
        ------
        ValueError when the file is damaged or belongs to a model with other settings.
        """
        tensors, info = load_tensors(path, _KIND)
        for name, value in self.description.items():
            if info["model"].get(name) != value:
                raise ValueError(
                    f"{path} belongs to another model: its {name} is "
                    f"{info['model'].get(name)!r}, this model's {value!r}"
                )
        own = model_state(self)
        if {n: v.shape for n, v in own.items()} != {n: v.shape for n, v in tensors.items()}:
            raise ValueError(f"{path} holds other tensors than this model trains")
        restore_state(self, tensors)
        self.train_users_ = info["train_users"]
        return self

    def _groups(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Pairs of a few users at a time where users' states are held; else all at once."""
        if self.attention == "full":
            if len(rows):
                yield np.arange(len(rows))
            return
        order = np.argsort(rows, kind="stable")
        ends = np.searchsorted(rows[order], np.arange(_USERS, rows.max(initial=-1) + 1, _USERS))
        yield from (part for part in np.split(order, ends) if len(part))


def run_block(
    block: nn.Module,
    x: Tensor,
    mask: Tensor | None,
    before: Sequence[Tensor] | None = None,
    only: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
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

    keys, values = heads(attention.key(x)), heads(attention.value(x))  # (batch, n_heads, n, d)
    own = keys, values
    if before is not None:
        keys = torch.cat([before[0], keys], 2)
        values = torch.cat([before[1], values], 2)
    if only is not None:
        x = x[torch.arange(len(x), device=x.device), only][:, None]  # (batch, 1, dim)
    queries = heads(attention.query(x))
    found = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    x = block.attention.output(found.transpose(1, 2).flatten(2), x)  # adds x, then normalises
    return block.output(block.intermediate(x), x), own


def hash_of_users(user_ids: Sequence[int]) -> str:
    """A sha256 of a set of users, whatever their order."""
    return hashlib.sha256(np.unique(np.asarray(user_ids, dtype=np.int64)).tobytes()).hexdigest()


def _cut(order: np.ndarray, lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Cut rows, longest first, into batches of so many tokens."""
    start = 0
    while start < len(order):
        stop = start + max(1, batch_tokens // int(lengths[order[start]]))
        yield order[start:stop]
        start = stop


def _load_pooler(pooler: nn.Linear, folder) -> None:
    """Start from the pretrained pooler where the file has one."""
    with safe_open(str(folder / "model.safetensors"), framework="pt") as file:
        names = {name.removeprefix("bert."): name for name in file.keys()}  # noqa: SIM118
        if "pooler.dense.weight" in names:
            with torch.no_grad():
                pooler.weight.copy_(file.get_tensor(names["pooler.dense.weight"]))
                pooler.bias.copy_(file.get_tensor(names["pooler.dense.bias"]))


def _add_lora(bert: nn.Module, n_blocks: int, last_blocks: int | str, rank: int) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    count = n_blocks if last_blocks == "all" else last_blocks
    if not (isinstance(count, int) and 1 <= count <= n_blocks):
        raise ValueError(f"last_blocks must be 'all' or 1 to {n_blocks}, got {last_blocks!r}")
    blocks = "|".join(str(number) for number in range(n_blocks - count, n_blocks))
    targets = rf"encoder\.layer\.({blocks})\..*(query|key|value|dense)"
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets), bert)
