"""What the builders of the clip art and of MovieLens share: Debian packages, fetched and opened."""

import hashlib
import io
import lzma
import subprocess
import sys
import tarfile
from pathlib import Path


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def download_deb(package, version, folder):
    """Fetch the exact package version with apt, which checks Debian's signatures itself."""
    try:
        subprocess.run(["apt-get", "download", f"{package}={version}"], cwd=folder, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(
            f"apt-get could not download {package}={version}: {error}\n"
            "On a machine without apt, fetch the .deb by hand and name it: see --help."
        )
    return next(Path(folder).glob(f"{package}_*.deb"))


def ar_members(blob):
    """Yield (name, content) of a Unix ar archive, which is what a .deb is."""
    if not blob.startswith(b"!<arch>\n"):
        sys.exit("not a Debian package: the ar header is missing")
    position = 8
    while position + 60 <= len(blob):
        header = blob[position : position + 60]
        size = int(header[48:58])
        yield header[:16].decode().strip().rstrip("/"), blob[position + 60 : position + 60 + size]
        position += 60 + size + size % 2  # members start at even offsets


def open_deb(deb, checksum):
    """Return the files of a package as a TarFile, after a look at its sha256."""
    blob = deb.read_bytes()
    if sha256(blob) != checksum:
        sys.exit(f"{deb.name}: sha256 is {sha256(blob)}, expected {checksum}")
    data = next(content for name, content in ar_members(blob) if name == "data.tar.xz")
    return tarfile.open(fileobj=io.BytesIO(lzma.decompress(data)))
