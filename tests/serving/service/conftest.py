"""A service within the test's own process."""

import pytest
from fastapi.testclient import TestClient

from recsys_tutorial.serving.service import Settings, create_app
from tests.serving.service.small import write_versions

# No limit of these tests is one of time: a busy machine must not turn them red.
PATIENT = {"rate": 1e6, "burst": 10**6, "timeout": 600.0, "body_timeout": 600.0}
PATIENT["change_timeout"] = 600.0


@pytest.fixture
def folder(tmp_path):
    """A service's folder with two versions."""
    write_versions(tmp_path)
    return tmp_path


@pytest.fixture
def start(folder):
    """A function that starts the service of `folder` with other settings; all are stopped."""
    running = []

    def begin(raise_server_exceptions=True, **more):
        settings = {"hosts": ("testserver",), "admin_token": "secret", **PATIENT, **more}
        app = create_app(Settings(folder, **settings))
        client = TestClient(app, raise_server_exceptions=raise_server_exceptions)
        client.__enter__()
        running.append(client)
        client.headers["Authorization"] = "Bearer secret"
        return client

    yield begin
    for client in reversed(running):
        client.__exit__(None, None, None)


@pytest.fixture
def client(start):
    """The service with its usual settings; "als" is on, the first in the alphabet."""
    return start()
