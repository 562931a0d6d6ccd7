"""A BERT and a pooling: text -> vector."""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import transformers
from torch import Tensor

from recsys_tutorial import pretrained
from recsys_tutorial._checks import check_one_of, check_within
from recsys_tutorial.encoders._cache import content_key
from recsys_tutorial.encoders._loading import block_list, load_bert, tuned_length
from recsys_tutorial.encoders.base import Encoder
from recsys_tutorial.encoders.networks import length_batches


class TextEncoder(Encoder):
    """A BERT and a pooling: text -> vector (Devlin et al. 2019; Reimers & Gurevych 2019).

    An empty text is encoded like any other (as its two special tokens). Of a text longer than
    `max_tokens` only the beginning counts.

    Parameters
    ----------
    name : str or path-like
        As in `pretrained.text_encoder`.
    pooling : "mean" or "cls"
        Mean of the tokens' hidden states, or the first token's.
    normalize : bool
        Scale vectors to length 1, so that a dot product is a cosine.
    layer : int
        Take the hidden states after so many blocks: 0 are the embeddings, -1 is the last block.
    max_tokens : int, optional
        Tokens of a text that are read; by default what the model was tuned with.
    device : str or torch.device, optional
        CUDA, else Apple's MPS, else the CPU.
    use_cache : bool
        Keep vectors on disk, under the weights' checksum and these settings.
    progress : bool, optional
        A bar on stderr; by default only in a terminal.

    Attributes
    ----------
    model : BertModel of transformers, without its pooler
    tokenizer : of transformers
    blocks : ModuleList, the transformer blocks, from below
    dim : int, numbers in a vector: the width of the model
    batch_tokens : int, tokens that `encode` takes at a time, padding included: 2,048 on a CPU,
        32,768 elsewhere; may be changed. Texts are sorted by their number of tokens first, so
        there is next to no padding.

    Raises
    ------
    ValueError
        For another `pooling`, and for a `layer` or `max_tokens` that the model does not have.

    Examples
    --------
    >>> encoder = TextEncoder()
    >>> films = encoder.encode(["Toy Story", "Monsters, Inc.", "Reservoir Dogs"])
    >>> films.shape
    (3, 384)
    >>> bool(films[0] @ films[1] > films[0] @ films[2])
    True
    """

    lora_targets = ("query", "value")

    def __init__(
        self,
        name: str | os.PathLike = "all-MiniLM-L6-v2",
        *,
        pooling: str = "mean",
        normalize: bool = True,
        layer: int = -1,
        max_tokens: int | None = None,
        device: str | torch.device | None = None,
        use_cache: bool = True,
        progress: bool | None = None,
    ):
        super().__init__(normalize=normalize, use_cache=use_cache, progress=progress)
        check_one_of(("mean", "cls"), pooling=pooling)
        folder = pretrained.text_encoder(name)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, padding_side="right"
        )
        self.model = load_bert(folder)
        self.blocks = block_list(self.model)
        self._keep_layers(layer, lowest=0)
        limit = getattr(self.model.config, "max_position_embeddings", 512)
        max_tokens = tuned_length(folder, limit) if max_tokens is None else max_tokens
        check_within(3, limit, max_tokens=max_tokens)
        self.pooling, self.max_tokens = pooling, max_tokens
        self.dim = self.model.config.hidden_size
        settings = {"pooling": pooling, "layer": self.n_layers, "max_tokens": max_tokens}
        self._finish(folder, settings, device)
        self.batch_tokens = 2048 if self.device.type == "cpu" else 32768

    def prepare(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return the tokens of a batch of texts, padded.

        Parameters
        ----------
        texts : sequence of str (batch,)

        Returns
        -------
        dict of int64 Tensor (batch, n_tokens): "input_ids" and "attention_mask", 0 for padding
        """
        options = {"padding": True, "truncation": True, "max_length": self.max_tokens}
        batch = self.tokenizer(list(texts), return_tensors="pt", **options)
        return {name: batch[name] for name in ("input_ids", "attention_mask")}

    def hidden_states(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return one vector for each token: (batch, n_tokens, dim), float32.

        Parameters
        ----------
        inputs : dict of Tensor, as `prepare` makes it; without "attention_mask" there is no padding
        """
        inputs = {name: values.to(self.device) for name, values in inputs.items()}
        return self.model(**inputs).last_hidden_state

    def pool(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the pooled hidden states (batch, dim), not normalised.

        Parameters
        ----------
        inputs : as in `hidden_states`
        """
        hidden = self.hidden_states(inputs)  # (batch, n_tokens, dim)
        if self.pooling == "cls":
            return hidden[:, 0]
        if "attention_mask" not in inputs:
            return hidden.mean(1)
        mask = inputs["attention_mask"].to(hidden)[:, :, None]  # (batch, n_tokens, 1)
        return (hidden * mask).sum(1) / mask.sum(1)

    def _identify(self, item) -> tuple[str, bytes]:
        if not isinstance(item, str):
            raise ValueError(f"expected a text, got {str(item)[:40]} ({type(item).__name__})")
        return item, content_key(item.encode())

    def _batches(self, contents, wanted, bad) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
        if not len(wanted):
            return
        texts = [contents[row] for row in wanted]
        tokens = self.tokenizer(texts, truncation=True, max_length=self.max_tokens)["input_ids"]
        for rows in length_batches(np.array([len(ids) for ids in tokens]), self.batch_tokens):
            batch = {"input_ids": [tokens[row] for row in rows]}
            inputs = dict(self.tokenizer.pad(batch, return_tensors="pt"))
            if inputs["attention_mask"].all():
                del inputs["attention_mask"]  # a batch without padding needs no mask
            yield wanted[rows], inputs
