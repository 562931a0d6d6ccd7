"""Names of a subpackage whose modules are imported when they are first asked for."""

from collections.abc import Callable
from importlib import import_module


def lazy_names(package: str, modules: dict[str, list[str]]) -> tuple[Callable, Callable, list[str]]:
    """Return ``__getattr__, __dir__, __all__`` of a subpackage (PEP 562).

    torch takes seconds to import, and who folds in likes with numpy need not wait for it.

    Parameters
    ----------
    package : the subpackage's ``__name__``
    modules : {module below it: its public names}
    """
    place = {name: module for module, names in modules.items() for name in names}

    def __getattr__(name: str):
        if name not in place:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{place[name]}"), name)

    return __getattr__, lambda: sorted(place), sorted(place)
