"""One space for words and pictures: a model that was pretrained on pairs of both."""

import os
from collections.abc import Sequence

import numpy as np
import torch
import transformers
from torch.nn import functional

from recsys_tutorial import pretrained
from recsys_tutorial.datasets.pictures import open_picture
from recsys_tutorial.encoders.networks import best_device


class TextImageEncoder:
    """CLIP: texts and pictures -> vectors of one space (Radford et al. 2021).

    Two encoders that were trained together, so that a picture's vector lies near that of what is
    said of it, by InfoNCE over pairs from the web (arXiv:2103.00020). For use as it is: nothing is
    kept on disk, and nothing learns.

    Parameters
    ----------
    name : str or path-like
        A CLIP of transformers by its name on the hub, such as
        "openai/clip-vit-large-patch14", or a folder that holds one.
    batch_size : int, texts or pictures at a time
    device : str or torch.device, optional; by default the fastest there is

    Attributes
    ----------
    model : PreTrainedModel, frozen
    dim : int, numbers in a vector

    Raises
    ------
    ValueError
        For a model that does not read both.
    """

    def __init__(self, name: str | os.PathLike, batch_size: int = 64, device=None):
        folder = pretrained.text_encoder(name)
        self.model = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        if not hasattr(self.model, "get_image_features"):
            raise ValueError(f"{name} is no model of texts and pictures")
        self.model.requires_grad_(False).eval().to(device or best_device())
        self.processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
        self.batch_size, self.dim = batch_size, self.model.config.projection_dim
        self.n_tokens = self.model.config.text_config.max_position_embeddings

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return a vector of length 1 for each text.

        Parameters
        ----------
        texts : sequence of str; long ones are cut

        Returns
        -------
        ndarray (n, dim), float32
        """
        read = {"padding": "max_length", "truncation": True, "max_length": self.n_tokens}
        return self._encode(
            texts,
            self.model.get_text_features,
            lambda x: {"text": x, **read, "return_tensors": "pt"},
        )

    def encode_images(self, pictures: Sequence) -> np.ndarray:
        """Return a vector of length 1 for each picture.

        Parameters
        ----------
        pictures : sequence of files or Pillow's images

        Returns
        -------
        ndarray (n, dim), float32
        """

        def read(batch: Sequence) -> dict:
            return {"images": [open_picture(x) for x in batch], "return_tensors": "pt"}

        return self._encode(pictures, self.model.get_image_features, read)

    @torch.no_grad()
    def _encode(self, things: Sequence, features, read) -> np.ndarray:
        found = [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(things), self.batch_size):
            inputs = self.processor(**read(list(things[start : start + self.batch_size])))
            vectors = features(**inputs.to(self.model.device))
            vectors = getattr(vectors, "pooler_output", vectors)  # newer versions wrap it
            found.append(functional.normalize(vectors, dim=1).cpu().numpy())
        return np.concatenate(found)
