"""Train the versions and serve them.

    python -m recsys_tutorial.serving.service demo            # both, in _build/service
    python -m recsys_tutorial.serving.service train FOLDER
    python -m recsys_tutorial.serving.service serve FOLDER --port 8000 --state FOLDER

Ctrl-C ends it: requests in work are answered, what was said is written. The token that allows
others to change versions is read from RECSYS_SERVICE_TOKEN.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from recsys_tutorial.serving.service.settings import LOCAL, Settings

GRACE = 30  # seconds for requests in work when it ends


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line's options.

    Parameters
    ----------
    argv : list of str or None for the process's own

    Returns
    -------
    Namespace
    """
    parser = argparse.ArgumentParser(
        prog="python -m recsys_tutorial.serving.service", description=__doc__.splitlines()[0]
    )
    parser.add_argument("command", choices=["demo", "train", "serve"])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("_build/service"))
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free")
    parser.add_argument("--names", help="what it may be called as, by commas; * for anything")
    defaults = Settings(Path())
    parser.add_argument("--state", type=Path, help="folder for feedback, if not the other one")
    for name in ("batch_size", "batch_wait", "rate", "burst", "max_waiting", "timeout", "index"):
        value = getattr(defaults, name)
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=type(value), default=value, help="default: %(default)s")
    return parser.parse_args(argv)


def settings_of(options: argparse.Namespace) -> Settings:
    """What the service is told.

    Parameters
    ----------
    options : Namespace of `parse`

    Returns
    -------
    Settings

    Raises
    ------
    ValueError for a limit out of its range.
    """
    names = tuple(options.names.split(",")) if options.names else (*LOCAL, options.host)
    same = ("folder", "state", "batch_size", "batch_wait", "rate", "burst", "max_waiting",
            "timeout", "index")  # fmt: skip
    token = os.environ.get("RECSYS_SERVICE_TOKEN") or None
    return Settings(
        hosts=names, admin_token=token, **{name: getattr(options, name) for name in same}
    )


def serve(settings: Settings, host: str, port: int) -> int:
    """Serve until it is told to end.

    Parameters
    ----------
    settings : Settings
    host : str
    port : int, 0 for any that is free

    Returns
    -------
    int, 0, or 1 when it could not begin
    """
    from recsys_tutorial.serving.service.app import create_app  # first: says what is missing

    import uvicorn  # isort: skip
    from recsys_tutorial.serving.service._routes import EXAMPLES

    class Server(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            if self.started:
                address = self.servers[0].sockets[0].getsockname()
                base = f"http://{host}:{address[1]}"
                print(f"serving at {base} (Ctrl-C ends it)", flush=True)
                for line in EXAMPLES:
                    print("  " + line.format(base=base), flush=True)

    config = uvicorn.Config(
        create_app(settings), host, port, access_log=False, log_level="warning",
        server_header=False, ws="none", timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=16_384,
    )  # fmt: skip
    # uvicorn ends gracefully at a signal and then hands it on to who was there before: nobody.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, frame: None)
    server = Server(config)
    server.run()
    print("ended: all answered, all written" if server.started else "not started", flush=True)
    return 0 if server.started else 1


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says and return the exit code.

    Parameters
    ----------
    argv : list of str or None for the process's own

    Returns
    -------
    int
    """
    options = parse(argv)
    try:
        settings = settings_of(options)
    except ValueError as error:
        print(f"not started: {error}", file=sys.stderr)
        return 2
    if options.command in ("demo", "train"):
        from recsys_tutorial.serving.service.training import train_artefacts

        folders = train_artefacts(options.folder)
        print("versions: " + ", ".join(folder.name for folder in folders), flush=True)
    return 0 if options.command == "train" else serve(settings, options.host, options.port)


if __name__ == "__main__":
    sys.exit(main())
