"""A package index and a model hub on this machine, for tests that must not use the network."""

import hashlib
import http.server
import io
import json
import threading
import time
import zipfile

import numpy as np
from safetensors.numpy import save


class Server:
    """Serve `files` (path -> bytes) over HTTP with ranges; `log`: (method, path, range, status).

    `cut` closes the next answers to a path after so many bytes each (a connection that drops);
    `pause` sleeps so many seconds between pieces.
    """

    def __init__(self):
        self.files, self.headers, self.cut, self.log, self.pause = {}, {}, {}, [], 0.0
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                self.answer(with_body=False)

            def do_GET(self):
                self.answer(with_body=True)

            def answer(self, with_body):
                path = self.path.split("?")[0]
                body, wanted = owner.files.get(path), self.headers.get("Range")
                if body is None:
                    owner.log.append((self.command, path, wanted, 404))
                    self.send_response(404)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                status, whole = 200, len(body)
                if wanted:
                    first = int(wanted.removeprefix("bytes=").partition("-")[0])
                    status, body = (206, body[first:]) if first < whole else (416, b"")
                owner.log.append((self.command, path, wanted, status))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Accept-Ranges", "bytes")
                if status == 206:
                    self.send_header("Content-Range", f"bytes {first}-{whole - 1}/{whole}")
                for name, value in owner.headers.get(path, {"Content-Type": "text/html"}).items():
                    self.send_header(name, value)
                self.end_headers()
                if not with_body:
                    return
                if len(body) > 4096 and owner.cut.get(path):
                    self.wfile.write(body[: owner.cut[path].pop(0)])
                    self.close_connection = True
                    return
                step = 1 << 14 if owner.pause else len(body) or 1
                for start in range(0, len(body), step):
                    self.wfile.write(body[start : start + step])
                    time.sleep(owner.pause)

            def log_message(self, *arguments):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # clients that are killed on purpose

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def transfers(self, path):
        """Return how often a path was asked for."""
        return sum(entry[:2] == ("GET", path) for entry in self.log)

    def add_wheel(self, package, version, members):
        """Put a wheel on the index; return its path on the server and its sha256."""
        data = wheel_bytes(package, version, members)
        folder = package.replace("-", "_")
        name = f"{folder}-{version}-py3-none-any.whl"
        self.files[f"/files/{name}"] = data
        page = f'<!DOCTYPE html><a href="/files/{name}">{name}</a>'
        self.files[f"/simple/{package}/"] = page.encode()
        return f"/files/{name}", hashlib.sha256(data).hexdigest()

    def add_model(self, repository, files, large_sha256=None):
        """Put a model on the hub; `large_sha256` replaces the checksum that the hub states."""
        commit, tree = "c0" * 20, []
        for name, data in files.items():
            digest = large_sha256 or hashlib.sha256(data).hexdigest()
            large = name.endswith((".safetensors", ".bin"))
            etag = digest if large else hashlib.sha1(data).hexdigest()
            path = f"/{repository}/resolve/{commit}/{name}"
            self.files[path] = data
            self.headers[path] = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
            entry = {"type": "file", "path": name, "size": len(data), "oid": etag}
            if large:
                entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 134}
            tree.append(entry)
        info = {"id": repository, "modelId": repository, "sha": commit, "private": False}
        info["siblings"] = [{"rfilename": name} for name in files]
        self.files[f"/api/models/{repository}/revision/main"] = json.dumps(info).encode()
        self.files[f"/api/models/{repository}/tree/{commit}"] = json.dumps(tree).encode()


def wheel_bytes(package, version, members):
    """Return a wheel with these members (path -> bytes)."""
    info = f"{package.replace('-', '_')}-{version}.dist-info"
    extra = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {**members, **extra}.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tiny_model(seed=0, size=200_000):
    """Return the files of a "model": some hundred kilobytes that do not compress."""
    values = np.random.default_rng(seed).standard_normal(size // 4).astype(np.float32)
    return {
        "config.json": b'{"model_type": "tiny"}\n',
        "model.safetensors": save({"weight": values}),
        "vocab.txt": b"[PAD]\nfilm\n",
    }
