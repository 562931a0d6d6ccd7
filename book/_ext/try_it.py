"""The tables of the page "Try it": from data/try_it to _static/try_it/data of the site."""

import json
import shutil
from pathlib import Path

from recsys_tutorial._files import data_dir


def copy_tables(app, exception):
    """The manifests and what they name, and nothing else of the folders."""
    if exception or app.builder.format != "html":
        return
    for part in ("", "pictures"):
        source = data_dir() / "try_it" / part
        target = Path(app.outdir) / "_static" / "try_it" / "data" / part
        target.mkdir(parents=True, exist_ok=True)
        manifest = json.loads((source / "manifest.json").read_text("utf-8"))
        for name in ("manifest.json", *manifest["files"]):
            shutil.copyfile(source / name, target / name)


def setup(app):
    app.connect("build-finished", copy_tables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
