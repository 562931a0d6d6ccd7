"""A vision transformer and a pooling: picture -> vector."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn

from recsys_tutorial import pretrained
from recsys_tutorial._checks import check_one_of
from recsys_tutorial.datasets.pictures import open_picture, read_picture_file
from recsys_tutorial.encoders._cache import content_key
from recsys_tutorial.encoders._loading import load_vit
from recsys_tutorial.encoders.base import Encoder


class ImageEncoder(Encoder):
    """A ViT and a pooling: picture -> vector (Dosovitskiy et al. 2021; Oquab et al. 2023).

    Pictures may have any size and mode, see `pictures.open_picture`; timm's transform for the
    model resizes them, takes the middle of those with other proportions, and standardises them.

    Parameters
    ----------
    name : str or path-like
        As in `pretrained.image_encoder`; a ViT of timm.
    image_size : int or (int, int)
        Side, or height and width, in pixels: a multiple of the patch size. The position
        embeddings are resized to it, bicubic without antialiasing as in DINOv2's own code. The
        cost grows with the number of patches.
    pooling : "cls", "mean" or "both"
        The class token, the mean of the patch tokens, or one after the other (2 * width numbers).
    normalize : bool
        Scale vectors to length 1.
    layer : int
        Take the hidden states after so many blocks, from 1; -1 is the last block. The model's
        final norm is part of the last block's output only.
    device, use_cache, progress
        As in `TextEncoder`.

    Attributes
    ----------
    model : VisionTransformer of timm, without its classifier
    blocks : ModuleList, the transformer blocks, from below
    dim : int, numbers in a vector: the width of the model, or twice that
    batch_size : int, pictures that `encode` takes at a time, 32; may be changed
    transform : callable Image -> Tensor (3, height, width)

    Raises
    ------
    ValueError
        For another `pooling`, a `layer` that the model does not have, a size that is no multiple of
        its patches, and for a model that is no ViT of timm.

    Examples
    --------
    >>> from PIL import Image
    >>> encoder = ImageEncoder(image_size=56, pooling="both")
    >>> encoder.encode([Image.new("RGB", (60, 60), "red")]).shape
    (1, 768)
    """

    lora_targets = ("qkv",)

    def __init__(
        self,
        name: str | os.PathLike = "vit_small_patch14_dinov2",
        image_size: int | tuple[int, int] = 112,
        *,
        pooling: str = "cls",
        normalize: bool = True,
        layer: int = -1,
        device: str | torch.device | None = None,
        use_cache: bool = True,
        progress: bool | None = None,
    ):
        super().__init__(normalize=normalize, use_cache=use_cache, progress=progress)
        check_one_of(("cls", "mean", "both"), pooling=pooling)
        height, width = (image_size,) * 2 if isinstance(image_size, int) else image_size
        folder = pretrained.image_encoder(name)
        self.model = load_vit(folder, (height, width))
        self.blocks = self.model.blocks
        if self._keep_layers(layer, lowest=1):
            self.model.norm = nn.Identity()
        if pooling != "mean" and not self.model.has_class_token:
            raise ValueError(f"{name} has no class token: pooling must be 'mean'")
        self.pooling, self.batch_size = pooling, 32
        self.dim = self.model.num_features * (2 if pooling == "both" else 1)
        data = timm.data.resolve_model_data_config(self.model)
        data |= {"input_size": (3, height, width), "crop_mode": "center"}
        self.transform = timm.data.create_transform(**data)
        settings = {"pooling": pooling, "layer": self.n_layers, "size": [height, width]}
        self._finish(folder, {**settings, "crop": "center"}, device)

    def prepare(self, pictures: Sequence[Image.Image | str | os.PathLike]) -> Tensor:
        """Return the pixels of a batch, standardised: (batch, 3, height, width), float32.

        Parameters
        ----------
        pictures : sequence of PIL image or path (batch,)
        """
        return torch.stack([self.transform(open_picture(picture)) for picture in pictures])

    def hidden_states(self, inputs: Tensor) -> Tensor:
        """Return one vector for each token: (batch, n_prefix + n_patches, width), float32.

        The prefix holds the class token and the registers, if the model has any.

        Parameters
        ----------
        inputs : Tensor (batch, 3, height, width), as `prepare` makes it
        """
        return self.model.forward_features(inputs.to(self.device))

    def pool(self, inputs: Tensor) -> Tensor:
        """Return the pooled hidden states (batch, dim), not normalised.

        Parameters
        ----------
        inputs : as in `hidden_states`
        """
        hidden = self.hidden_states(inputs)  # (batch, n_tokens, width)
        if self.pooling == "cls":
            return hidden[:, 0]
        patches = hidden[:, self.model.num_prefix_tokens :].mean(1)
        both = torch.cat([hidden[:, 0], patches], dim=1)  # (batch, 2 * width)
        return patches if self.pooling == "mean" else both

    def _identify(self, item) -> tuple[Image.Image | Path, bytes]:
        if isinstance(item, str | os.PathLike):
            path = Path(item)  # opened again when its batch comes: a catalogue may not fit memory
            return path, content_key(b"file", read_picture_file(path))
        picture = open_picture(item)
        return picture, content_key(b"pixels", repr(picture.size).encode(), picture.tobytes())

    def _batches(self, contents, wanted, bad) -> Iterator[tuple[np.ndarray, Tensor]]:
        for start in range(0, len(wanted), self.batch_size):
            rows, pixels = [], []
            for row in wanted[start : start + self.batch_size]:
                try:
                    pixels.append(self.transform(open_picture(contents[row])))
                    rows.append(row)
                except (ValueError, OSError) as error:
                    bad[int(row)] = str(error)
            if rows:
                yield np.array(rows), torch.stack(pixels)
