"""Make the course's environment: a virtual environment, the pinned packages, the weights.

The Makefile calls this before every target that needs something installed. It does nothing, in a
fraction of a second, when nothing changed since it last succeeded; otherwise it says what it does
and how long that took, and when something is missing it ends with one line that says what to do.

    python3 scripts/setup.py                          # .venv with what the tests and the site need
    python3 scripts/setup.py --weights required --language-model    # with all pretrained weights
    python3 scripts/setup.py --extras dev,book,bench  # and the peers that `make bench` times
    python3 scripts/setup.py --venv .venv-newest --newest           # what there is today, no pins
    python3 scripts/setup.py --venv .venv-lint --only ruff,codespell   # these alone: seconds

Standard library only, and readable by old Pythons, since one of the things it has to say is that
the Python that runs it is too old.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST_PYTHON = (3, 11)
# Measured: 7.1 GB of environment on Linux, nearly all of it torch and its GPU libraries.
NEEDED_GB = 8.0
# What it takes after the first time, when a few packages change.
NEEDED_AGAIN_GB = 1.0
# A few tools without the project (--only): a Python with pip, and they.
NEEDED_ONLY_GB = 0.2
# Only the chapters on language models read it, so it is fetched only when asked for.
LANGUAGE_MODEL = "SmolLM2-135M-Instruct"
# In every environment, pinned by nobody; the project itself is what is installed.
NOT_PINNED = ("pip", "setuptools", "wheel", "recsys-tutorial")

# pip's own words for a failure -> ours, looked for in this order: without a network pip ends with
# "no matching distribution", as it does for a version that does not exist.
PIP_FAILURES = [
    (
        r"No space left on device",
        "the disk is full: free about 8 GB (pip's cache: `pip cache purge`) and start again",
    ),
    (
        r"name resolution|NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout"
        r"|ProxyError|Connection refused|Network is unreachable|SSLError|getaddrinfo failed",
        "no network: pip cannot reach the package index; connect, or set PIP_INDEX_URL to a mirror "
        "that can be reached (behind a proxy: HTTPS_PROXY), and start again",
    ),
    (
        r"from versions: none\)\s+ERROR: No matching distribution found for (?P<what>\S+)",
        "pip finds no version of {what} at all: either there is no network (PIP_INDEX_URL sets a "
        "mirror that can be reached), or this Python is newer than the versions in constraints.txt",
    ),
    (
        r"No matching distribution found for (?P<what>\S+)",
        "the package index has no {what} for this Python and system; the versions in "
        "constraints.txt are for Python 3.11 to 3.13 on Linux, macOS and Windows",
    ),
    (
        r"ResolutionImpossible|conflicting dependencies",
        "pyproject.toml and constraints.txt contradict each other",
    ),
    (r"Permission denied", "no permission to write into the environment's folder"),
]


class SetupError(Exception):
    """Something is missing; the message is the one line the reader sees."""


def say(text):
    """Print a line at once, also into a pipe."""
    print(text, flush=True)


def check_python(version=None, executable=None):
    """Raise SetupError when the Python that makes the environment is too old."""
    version = tuple(version or sys.version_info)[:3]
    if version[:2] < OLDEST_PYTHON:
        raise SetupError(
            "Python {}.{} or newer is needed, {} is {}: install one from python.org, then "
            "`make ... PYTHON=python3.12` (its name or path)".format(
                *OLDEST_PYTHON, executable or sys.executable, ".".join(map(str, version))
            )
        )


def check_disk(folder, needed_gb, free_bytes=None):
    """Raise SetupError when the disk that holds a folder has too little space."""
    free = (shutil.disk_usage(folder).free if free_bytes is None else free_bytes) / 1e9
    if free < needed_gb:
        raise SetupError(
            f"no disk space: {folder} has {free:.1f} GB free, the environment needs about "
            f"{needed_gb:g} GB; free some, or put it elsewhere with `make ... VENV=/path/to/folder`"
        )


def python_of(venv):
    """Return the path of an environment's interpreter."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def works(python):
    """Say whether an interpreter starts, is new enough and has pip."""
    code = f"import sys, pip; sys.exit(sys.version_info[:2] < {OLDEST_PYTHON})"
    try:
        run = subprocess.run([str(python), "-c", code], capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 0


def make_venv(venv):
    """Create the environment, anew when the one there is broken; nothing when it works."""
    if works(python_of(venv)):
        return
    if venv.exists() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").exists():
        raise SetupError(f"{venv} holds something else than a virtual environment: left alone")
    try:
        import ensurepip  # noqa: F401  Debian and Ubuntu ship venv without it
        import venv as _  # noqa: F401
    except ImportError:
        raise SetupError(
            "this Python has no venv module: on Debian and Ubuntu `sudo apt install python3-venv`"
        ) from None
    say(f"environment: creating {venv} with Python {sys.version.split()[0]}")
    # --clear, since a broken one (moved, or its Python removed) cannot be mended in place
    command = [sys.executable, "-m", "venv", "--clear", str(venv)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        text = done.stderr + done.stdout
        if "No space left" in text:
            raise SetupError(PIP_FAILURES[0][1])
        raise SetupError(f"cannot create {venv}: {last_line(text)}")


def last_line(text):
    """Return the last line of a text that is not blank."""
    return ([line.strip() for line in text.splitlines() if line.strip()] or ["no message"])[-1]


def explain(log):
    """Return the one line that says why pip failed."""
    for pattern, message in PIP_FAILURES:
        found = re.search(pattern, log)
        if found:
            return message.format(**found.groupdict())
    return "pip failed: " + last_line(log)


def pip_arguments(extras, only=(), newest=False):
    """Return what `pip install` is given.

    Either the project with its extras or ``only`` some packages; either the versions of
    constraints.txt or, when ``newest``, whatever pyproject.toml allows today.
    """
    versions = ["--upgrade", "--upgrade-strategy", "eager"] if newest else ["-c", "constraints.txt"]
    return versions + (list(only) or ["-e", ".[{}]".format(",".join(extras))])


def key(arguments, root=ROOT):
    """Return a text that changes whenever an installation with these arguments must be repeated."""
    import tomllib  # not at the top: this file has to be readable by Pythons without it

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    # The linters' settings stand in the same file and change nothing that is installed.
    project = {name: project[name] for name in ("build-system", "project")}
    parts = [
        (root / "constraints.txt").read_text(encoding="utf-8"),
        json.dumps(project, sort_keys=True),
        str(root),  # an editable installation points to this folder
        *arguments,
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def is_stamped(stamp, value):
    """Say whether a stamp holds this value."""
    try:
        return stamp.read_text(encoding="utf-8") == value
    except OSError:
        return False


def write_stamp(stamp, value):
    """Write a stamp whole or not at all."""
    temporary = stamp.with_name(stamp.name + ".tmp")
    temporary.write_text(value, encoding="utf-8")
    os.replace(temporary, stamp)


def pip_install(venv, arguments, root=ROOT, every=20.0):
    """Run `pip install` with these arguments; pip's words go to a log in the environment."""
    log_path = venv / "install.log"
    command = [
        str(python_of(venv)), "-m", "pip", "install", "--disable-pip-version-check",
        "--no-input", "--progress-bar", "off", *arguments,
    ]  # fmt: skip
    say("packages: pip install " + " ".join(arguments))
    start = said = time.monotonic()
    with open(log_path, "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=root, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                time.sleep(0.2)
                if time.monotonic() - said >= every:
                    said = time.monotonic()
                    text = log_path.read_text(encoding="utf-8", errors="replace")
                    count = len(set(re.findall(r"^(?:Collecting|Processing) (\S+)", text, re.M)))
                    step = "installing" if "Installing collected" in text else "fetching"
                    say(f"packages: {step} ({count} so far, {said - start:.0f} s)")
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        text = log_path.read_text(encoding="utf-8", errors="replace")
        print("\n".join(text.splitlines()[-15:]), file=sys.stderr)
        raise SetupError(f"{explain(text)} (all of pip's output: {log_path})")


def different_versions(pinned, installed):
    """Return a line for each package whose version is not the pinned one.

    Parameters
    ----------
    pinned : str
        The text of constraints.txt.
    installed : list of dict
        Each with "name" and "version", as `pip list --format json` prints them.
    """
    lines = (line.split("#")[0].strip() for line in pinned.splitlines())
    pins = dict(line.split("==") for line in lines if line)
    rows = []
    for package in installed:
        name = re.sub(r"[-_.]+", "-", package["name"]).lower()
        version = package["version"].split("+")[0]  # torch 2.14.1+cpu is 2.14.1
        if name not in NOT_PINNED and pins.get(name) != version:
            rows.append((name, pins.get(name, "(none)"), version))
    return ["  {:<28} {:>12} -> {}".format(*row) for row in sorted(rows)]


def say_versions(venv, root=ROOT):
    """Print the versions of an environment that differ from constraints.txt."""
    command = [str(python_of(venv)), "-m", "pip", "list", "--format", "json"]
    command += ["--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SetupError(f"pip cannot list what is in {venv}: {last_line(done.stderr)}")
    pinned = (root / "constraints.txt").read_text(encoding="utf-8")
    installed = json.loads(done.stdout)
    lines = different_versions(pinned, installed)
    say(f"versions: {len(lines)} of {len(installed)} differ from constraints.txt")
    for line in lines:
        say(line)


def fetch_weights(venv, root=ROOT, name=None):
    """Fetch the pretrained weights into the cache that all notebooks share; stamped.

    Without a name those that most of the course needs; with one, that model alone.
    """
    sources = sorted((root / "recsys_tutorial" / "pretrained").glob("*.py"))
    parts = [path.read_text(encoding="utf-8") for path in sources]
    parts.append(os.environ.get("RECSYS_TUTORIAL_CACHE", ""))
    value = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    stamp = venv / (f".weights-{name}" if name else ".weights")
    command = [str(python_of(venv)), "-m", "recsys_tutorial.pretrained", "fetch"]
    command += [name] if name else []
    if is_stamped(stamp, value):
        return
    say("weights: python " + " ".join(command[1:]))
    done = subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SetupError(
            "the pretrained weights could not be fetched: the lines above say what was tried"
        )
    write_stamp(stamp, value)


def timed(name, function, *arguments):
    """Call a function; say how long it took when that was noticeable."""
    start = time.monotonic()
    function(*arguments)
    seconds = time.monotonic() - start
    if seconds >= 1:
        say(f"{name}: done in {seconds:.0f} s")


def install(venv, options, root=ROOT):
    """Make the environment hold what the options name; nothing when it does already."""
    extras = sorted(options.extras.split(","))
    only = sorted(options.only.split(",")) if options.only else []
    arguments = pip_arguments(extras, only, options.newest)
    value = key(arguments, root)
    # One stamp for each choice of extras: `make bench` must not undo `make test`.
    stamp = venv / ".installed-{}".format("-".join(only or extras))
    # What is newest changes without a change here, so pip is asked each time.
    if is_stamped(stamp, value) and python_of(venv).exists() and not options.newest:
        return
    again = any(venv.glob(".installed-*"))
    needed = NEEDED_ONLY_GB if only else NEEDED_AGAIN_GB if again else NEEDED_GB
    venv.parent.mkdir(parents=True, exist_ok=True)
    check_disk(venv.parent, needed)
    timed("environment", make_venv, venv)
    timed("packages", pip_install, venv, arguments, root)
    write_stamp(stamp, value)


def parse(argv):
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", default=".venv", help="the environment's folder")
    parser.add_argument("--extras", default="dev,book", help="extras of pyproject.toml, by commas")
    parser.add_argument("--only", default="", help="these packages, by commas, without the project")
    parser.add_argument(
        "--newest",
        action="store_true",
        help="the newest versions that pyproject.toml allows; says which are not those pinned",
    )
    parser.add_argument(
        "--weights",
        choices=["required", "optional", "none"],
        default="none",
        help="whether to fetch the pretrained weights too, and whether failing is an error",
    )
    parser.add_argument(
        "--language-model",
        action="store_true",
        help=f"with --weights: fetch {LANGUAGE_MODEL} as well, 93 MB and 273 MB on disk",
    )
    return parser.parse_args(argv)


def main(argv=None, root=ROOT):
    """Do what is missing and return the exit code."""
    options = parse(argv)
    venv = Path(root, os.path.expanduser(options.venv))
    try:
        check_python()
        install(venv, options, root)
        if options.newest:
            say_versions(venv, root)
        if options.weights != "none":
            try:
                timed("weights", fetch_weights, venv, root)
                if options.language_model:
                    timed("language model", fetch_weights, venv, root, LANGUAGE_MODEL)
            except SetupError as error:
                if options.weights == "required":
                    raise
                say(f"weights: {error}; going on without them")
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up stopped; start again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
