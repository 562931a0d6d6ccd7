"""Modules that have moved, under the names that they had before."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

PACKAGE = __name__.partition(".")[0]
# {old name: new name}, both below the package
MOVED = {
    "bandits": "feedback.bandits",
    "cleaning": "datasets.cleaning",
    "encoding": "encoders.base",
    "genre_queries": "datasets.genre_queries",
    "grad_cache": "training.large_batches",
    "models.fusion": "models.towers.fusion",
    "models.last_blocks": "models.towers.last_blocks",
    "models.matrix_factorization": "models.biased_mf",
    "models.reranking": "reranking",
    "monitoring": "training.monitor",
    "off_policy": "feedback.off_policy",
    "online_learning": "feedback.online",
    "pictures": "datasets.pictures",
    "ranking_losses": "losses.lists",
    "shop_logs": "feedback.logs",
    "shop_policies": "feedback.policies",
    "shop_runs": "feedback.runs",
    "simulation": "feedback.shop",
    # The package's own helpers, for code that was written against their old names.
    "_lazy": "_imports.lazy",
    "_modules": "_torch.modules",
    "_paths": "_files.paths",
    "_precision": "_torch.precision",
    "_tensor_files": "_files.tensors",
    "_ties": "ranking",
}


class _OldNames(MetaPathFinder, Loader):
    """Finds a module by its old name: the same module object, and a DeprecationWarning."""

    def find_spec(self, name, path=None, target=None) -> ModuleSpec | None:
        package, _, old = name.partition(".")
        return ModuleSpec(name, self) if package == PACKAGE and old in MOVED else None

    def exec_module(self, module) -> None:
        old = module.__name__
        new = f"{PACKAGE}.{MOVED[old.partition('.')[2]]}"
        warnings.warn(f"{old} is {new} now", DeprecationWarning, stacklevel=2)
        sys.modules[old] = import_module(new)


def install() -> None:
    """Make the old names importable."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        sys.meta_path.append(_OldNames())
