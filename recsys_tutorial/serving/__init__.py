"""What is trained, given to those who use it: as a service, and as files for a browser."""

__all__: list[str] = []
