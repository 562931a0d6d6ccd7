"""The scripts that made the catalogue, imported, and a picture as they read it."""

import importlib.util
import io
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2] / "data" / "clipart"  # where the scripts are


def _load(name, file):
    """Import a script under a name of its own: `build` is also a package that makes wheels."""
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / file)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


words = _load("clipart_words", "clipart_words.py")  # make.py imports it by this name
debian_packages = _load("debian_packages", "../debian_packages.py")  # and this
build = _load("clipart_build", "make.py")


def png_bytes(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
