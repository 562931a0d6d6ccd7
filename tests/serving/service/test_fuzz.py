"""Requests made from the service's own OpenAPI document: none breaks it, each answer is as told."""

from pathlib import Path

import hypothesis
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck
from schemathesis import GenerationMode

from recsys_tutorial.serving.service import Settings, create_app
from tests.serving.service.conftest import PATIENT
from tests.serving.service.small import write_versions

DOCUMENT = create_app(Settings(Path("none"))).openapi()
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
RUN = hypothesis.settings(
    max_examples=25, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    write_versions(folder)
    app = create_app(Settings(folder, hosts=("*",), admin_token="secret", **PATIENT))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("path, method", OPERATIONS)
def test_every_answer_is_one_that_the_document_names(client, path, method, mode):
    """Schemathesis' checks: no 5xx, only documented statuses and forms, bad input is refused."""
    operation, statuses = SCHEMA[path][method], []

    @RUN
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        options = case.as_transport_kwargs(base_url="http://testserver")
        options["headers"] = {**options["headers"], "Authorization": "Bearer secret"}
        options = {name: value for name, value in options.items() if value is not None}
        if isinstance(options.get("data"), bytes | str):
            options["content"] = options.pop("data")
        answer = client.request(**options)
        case.validate_response(answer)
        assert "Traceback" not in answer.text
        statuses.append(answer.status_code)

    try:
        ask()
    except hypothesis.errors.Unsatisfiable:
        assert mode == GenerationMode.NEGATIVE and not DOCUMENT["paths"][path][method].get(
            "parameters"
        ), "nothing can be made of this operation"
    assert client.get("/health").status_code == 200
