"""Models where they are used: `export` takes them to a reader's browser."""

__all__: list[str] = []
