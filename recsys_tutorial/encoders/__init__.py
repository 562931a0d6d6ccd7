"""Turn texts and pictures into vectors with pretrained transformers.

    TextEncoder().encode(["Toy Story (1995)", ...])     # BERT: (n, 384)
    ImageEncoder().encode(["cat.png", ...])             # ViT:  (n, 384)

`encode` is the way to vectors that do not change: frozen weights, kept on disk. The encoders are
also `torch.nn.Module`s: after `unfreeze` or `add_lora`, `encoder(encoder.prepare(items))` is the
way to train them.
"""

from recsys_tutorial.encoders.base import EncodeError, Encoder
from recsys_tutorial.encoders.image import ImageEncoder
from recsys_tutorial.encoders.joint import TextImageEncoder
from recsys_tutorial.encoders.networks import best_device
from recsys_tutorial.encoders.text import TextEncoder

__all__ = [
    "EncodeError",
    "Encoder",
    "ImageEncoder",
    "TextEncoder",
    "TextImageEncoder",
    "best_device",
]
