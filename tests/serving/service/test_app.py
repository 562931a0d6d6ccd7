"""The endpoints: what they answer, and what they say to what is wrong."""

import re

import numpy as np
import pytest
from scipy import sparse

from recsys_tutorial.ranking import rank
from recsys_tutorial.serving.service import Engine, in_candidate
from recsys_tutorial.serving.service.searching import TextSearch
from tests.serving.service.small import N_ITEMS, WORDS, films, versions, write_versions

IDS = films()["item_id"].tolist()


def listed(answer):
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def recommend(client, **question):
    return client.post("/recommend", json=question)


def like(client, item_id, user_id="ann", value="like", **more):
    message = {"user_id": user_id, "item_id": item_id, "value": value, **more}
    return client.post("/feedback", json=message)


def expected(name, likes, k, hidden=()):
    """The list of the Python model itself."""
    row = np.zeros((1, N_ITEMS))
    row[0, [IDS.index(item) for item in likes]] = 1
    seen = row.copy()
    seen[0, [IDS.index(item) for item in hidden]] = 1
    scores = versions()[name].model.score(sparse.csr_matrix(row))
    return [IDS[column] for column in rank(scores, sparse.csr_matrix(seen), k)[0]]


def test_a_like_changes_the_next_answer_as_the_model_says(client):
    first = recommend(client, user_id="ann").json()
    assert first["basis"] == "popularity" and first["n_likes"] == 0
    liked = []
    for item in (IDS[1], IDS[5], IDS[22]):
        assert like(client, item).status_code == 201
        liked.append(item)
        answer = recommend(client, user_id="ann", k=7)
        assert listed(answer) == expected("als", liked, 7)
        assert answer.json()["basis"] == "likes" and answer.json()["n_likes"] == len(liked)
    like(client, IDS[5], value="unlike")
    like(client, IDS[9], value="hide")
    assert listed(recommend(client, user_id="ann", k=7)) == expected(
        "als", [IDS[1], IDS[22]], 7, [IDS[9]]
    )
    assert recommend(client, user_id="ben").json()["items"] == first["items"]


def test_likes_may_come_with_the_question_and_are_not_kept(client):
    answer = recommend(client, likes=[IDS[2], IDS[6]], exclude=[IDS[10]], k=5)
    assert listed(answer) == expected("als", [IDS[2], IDS[6]], 5, [IDS[10]])
    assert answer.json()["list_id"] is None
    like(client, IDS[2])
    assert listed(recommend(client, user_id="ann", likes=[IDS[6]], k=5)) == expected(
        "als", [IDS[2], IDS[6]], 5
    )
    assert listed(recommend(client, user_id="ann", k=5)) == expected("als", [IDS[2]], 5)


def test_feedback_outlives_a_restart(start):
    client = start()
    assert like(client, IDS[3]).json() == {"id": 1, "duplicate": False}
    client.app.state.service.store.close()
    again = start()
    assert listed(recommend(again, user_id="ann", k=5)) == expected("als", [IDS[3]], 5)


def test_search_and_similar(client):
    answer = client.get("/search", params={"q": "an ocean film", "k": 4})
    assert answer.json()["by"] == "words"
    assert all("ocean" in item["title"] for item in answer.json()["items"])
    assert listed(client.get("/search", params={"q": "zzz"})) == []
    near = client.get(f"/similar/{IDS[0]}", params={"k": 3}).json()
    assert near["by"] == "likes" and IDS[0] not in [item["item_id"] for item in near["items"]]
    columns, _ = Engine(versions()["als"]).similar(0, 3)
    assert [item["item_id"] for item in near["items"]] == [IDS[column] for column in columns]
    words = client.get(f"/similar/{IDS[0]}", params={"k": 9, "by": "text"}).json()["items"]
    assert all(WORDS[0] in item["title"] for item in words)


def test_an_encoder_reads_queries(tmp_path, bert, monkeypatch):
    from recsys_tutorial.serving.service import Artefact, searching

    titles = ["A robot in love", "Deep sea divers", "A knight and a castle"]
    table = films().iloc[:3].assign(title=titles)
    model = versions()["popularity"].model
    model.item_counts_ = model.item_counts_[:3]
    vectors = bert.encode(titles)
    monkeypatch.setattr(searching, "_encoder", lambda name: bert)
    search = TextSearch(Artefact("x", model, table, np.ones(3), {}, vectors, "all-MiniLM-L6-v2"))
    assert search.by == "text"
    for query, best in (("machines with feelings", 0), ("the ocean floor", 1), ("medieval war", 2)):
        assert search.search(query, 1)[0].tolist() == [best]
    assert sorted(search.similar(0, 5)[0]) == [1, 2]


LONG = "x" * 65
BAD = [  # method, path, body, status, where, a part of the message
    ("POST", "/recommend", {"user_id": "a b"}, 422, "body.user_id", 'match pattern .*, got "a b"'),
    ("POST", "/recommend", {"user_id": LONG}, 422, "body.user_id", "match pattern"),
    ("POST", "/recommend", {"user_id": 7}, 422, "body.user_id", "valid string, got 7"),
    ("POST", "/recommend", {"k": 0}, 422, "body.k", "greater than or equal to 1, got 0"),
    ("POST", "/recommend", {"k": 101}, 422, "body.k", "less than or equal to 100, got 101"),
    ("POST", "/recommend", {"k": 1.5}, 422, "body.k", "got 1.5"),
    ("POST", "/recommend", {"k": True}, 422, "body.k", "valid integer, got true"),
    ("POST", "/recommend", {"k": "5"}, 422, "body.k", 'valid integer, got "5"'),
    ("POST", "/recommend", {"K": 5}, 422, "body.K", "Extra inputs are not permitted, got 5"),
    ("POST", "/recommend", {"likes": [100, 1]}, 404, "body.likes.1", "no item 1 among the 40"),
    ("POST", "/recommend", {"likes": ["100"]}, 422, "body.likes.0", 'valid integer, got "100"'),
    ("POST", "/recommend", {"likes": [100] * 501}, 422, "body.likes", "at most 500 .*not 501"),
    ("POST", "/recommend", {"exclude": [-1]}, 422, "body.exclude.0", "greater .* to 0, got -1"),
    ("POST", "/recommend", [], 422, "body", "valid dictionary"),
    ("POST", "/recommend", None, 422, "body", "required"),
    ("POST", "/recommend", b'{"k": }', 422, "body", "no JSON: Expecting value at character 6"),
    ("POST", "/recommend", b'"\xff"', 400, "path", "parsing the body"),
    ("POST", "/recommend", b"[" * 9000, 400, "path", "parsing the body"),
    ("POST", "/recommend", b"x" * 17000, 413, "body", "a body may have 16384 bytes"),
    ("POST", "/feedback", {}, 422, "body.user_id", "required"),
    ("POST", "/feedback", {"user_id": "a", "item_id": 1, "value": "like"}, 404, "body.item_id",
     "no item 1 among"),
    ("POST", "/feedback", {"user_id": "a", "item_id": 100, "value": "love"}, 422, "body.value",
     "'like', 'unlike' or 'hide', got \"love\""),
    ("POST", "/feedback", {"user_id": "a", "item_id": 2**60, "value": "like"}, 422, "body.item_id",
     "less than or equal to"),
    ("POST", "/feedback", {"user_id": "a", "item_id": 100, "value": "like", "list_id": "none"},
     409, "body.list_id", "no list 'none' with item 100 was shown to this user"),
    ("GET", "/search", None, 422, "query.q", "required"),
    ("GET", "/search?q=", None, 422, "query.q", "at least 1 character"),
    ("GET", f"/search?q={'x' * 201}", None, 422, "query.q", "at most 200 characters"),
    ("GET", "/search?q=x&k=1000", None, 422, "query.k", "less than or equal to 100, got \"1000\""),
    ("GET", "/similar/toy", None, 422, "path.item_id", 'valid integer, .*got "toy"'),
    ("GET", "/similar/1", None, 404, "path.item_id", "no item 1 among"),
    ("GET", "/similar/100?by=smell", None, 422, "query.by", "'likes' or 'text', got \"smell\""),
    ("POST", "/models/activate", {"version": "none"}, 404, "body.version",
     "no version 'none': only als, ease"),
    ("POST", "/models/activate", {"version": "../als"}, 422, "body.version", "match pattern"),
    ("POST", "/models/rollback", None, 409, "", "no version was on before"),
    ("PUT", "/models/candidate", {"version": "als", "share": 0.1}, 409, "body.version",
     "als is the version that is on"),
    ("PUT", "/models/candidate", {"version": "ease", "share": 2}, 422, "body.share", "got 2"),
    ("PUT", "/models/candidate", b'{"version": "ease", "share": NaN}', 422, "body.share", "finite"),
    ("GET", "/models/comparison", None, 409, "", "there is one version"),
    ("GET", "/nothing", None, 404, "path", "Not Found: GET /nothing"),
    ("GET", "/recommend", None, 405, "path", "Method Not Allowed: GET /recommend"),
]  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One service for all bad inputs: none of them may change it."""
    from fastapi.testclient import TestClient

    from recsys_tutorial.serving.service import Settings, create_app
    from tests.serving.service.conftest import PATIENT

    folder = tmp_path_factory.mktemp("service")
    write_versions(folder)
    settings = Settings(folder, hosts=("testserver",), admin_token="secret", **PATIENT)
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = "Bearer secret"
        before = client.get("/models").json()
        yield client
        assert client.get("/models").json() == before
        assert client.app.state.service.store.read("SELECT * FROM feedback") == []


@pytest.mark.parametrize("method, path, body, status, where, message", BAD)
def test_a_bad_request_is_told_what_and_where(shared, method, path, body, status, where, message):
    options = {} if body is None else {"json": body}
    if isinstance(body, bytes):
        options = {"content": body, "headers": {"Content-Type": "application/json"}}
    answer = shared.request(method, path, **options)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "where"}
    assert error["where"] == where
    assert re.search(message, error["message"]), error["message"]


@pytest.mark.parametrize("path", ["/models/activate", "/models/rollback"])
def test_versions_are_changed_by_who_may(start, path):
    client = start()
    for wrong in ("", "Bearer", "Bearer Secret", "Bearer s\u00e9cret".encode("latin-1")):
        answer = client.post(path, json={"version": "ease"}, headers={"Authorization": wrong})
        assert answer.status_code == 403 and "bring the token" in answer.json()["error"]["message"]
    assert client.get("/models").json()["stable"] == "als"


def test_without_a_token_only_this_machine_may_change(start):
    client = start(admin_token=None)  # whose client is no address of this machine
    answer = client.post("/models/activate", json={"version": "ease"})
    assert answer.status_code == 403 and "this machine alone" in answer.text


def test_there_and_back(client):
    assert client.post("/models/activate", json={"version": "ease"}).json()["previous"] == "als"
    like(client, IDS[1])
    assert listed(recommend(client, user_id="ann", k=5)) == expected("ease", [IDS[1]], 5)
    state = client.post("/models/rollback").json()
    assert (state["stable"], state["previous"]) == ("als", "ease")
    assert listed(recommend(client, user_id="ann", k=5)) == expected("als", [IDS[1]], 5)
    states = {one["name"]: one["state"] for one in state["versions"]}
    assert states == {"als": "stable", "ease": "previous"}


def test_a_trial_is_sticky_and_its_lists_are_compared(client):
    client.put("/models/candidate", json={"version": "ease", "share": 0.5})
    users = [f"user-{number}" for number in range(40)]
    for user in users:
        answers = [recommend(client, user_id=user, k=4).json() for _ in range(2)]
        inside = in_candidate(user, 0.5, "ease")
        for answer in answers:
            assert answer["version"] == ("ease" if inside else "als")
            assert answer["arm"] == ("candidate" if inside else "stable")
        if inside:  # who is given the candidate likes what is first
            first = answers[0]["items"][0]["item_id"]
            done = like(client, first, user, list_id=answers[0]["list_id"])
            assert done.status_code == 201
    like(client, IDS[0])  # lists are written in their turn: all before this are, once it is
    found = client.get("/models/comparison").json()
    n = sum(in_candidate(user, 0.5, "ease") for user in users)
    assert found["versions"] == ["ease", "als"] and found["n_users"] == [n, 40 - n]
    assert found["rates"] == [1 / 8, 0.0] and found["low"] > 0
    paired = client.get("/models/comparison", params={"paired": True}).json()
    assert paired["n_users"] == [0, 0] and paired["difference"] is None
    assert client.delete("/models/candidate").json()["candidate"] is None
    assert recommend(client, user_id=users[0]).json()["version"] == "als"


def test_a_damaged_version_is_named_and_the_old_one_goes_on(client, folder):
    path = folder / "versions" / "ease" / "items.json"
    path.write_bytes(path.read_bytes().replace(b"number 3 ", b"number 4 "))
    answer = client.post("/models/activate", json={"version": "ease"})
    assert answer.status_code == 409
    message = answer.json()["error"]["message"]
    assert message.startswith("nothing was changed: ") and "items.json was changed" in message
    assert listed(recommend(client, likes=[IDS[1]], k=3)) == expected("als", [IDS[1]], 3)


def test_no_inside_of_the_service_is_shown(start, monkeypatch, caplog):
    client = start(raise_server_exceptions=False)

    def broken(self, queries):
        raise ZeroDivisionError("a secret path: /srv/models")

    monkeypatch.setattr(Engine, "recommend", broken)
    answer = recommend(client, user_id="ann")
    assert answer.status_code == 500
    assert "Traceback" not in answer.text and "secret" not in answer.text
    number = re.search(r"in its log as (\w+)", answer.json()["error"]["message"])[1]
    assert f"internal error {number} at POST /recommend" in caplog.text
    assert "a secret path" in caplog.text  # who runs the service learns it
    assert client.get("/health").status_code == 200


def test_feedback_that_cannot_be_stored_is_not_acknowledged(client):
    store = client.app.state.service.store
    store._writing.execute("PRAGMA query_only=ON")
    answer = like(client, IDS[1])
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
    assert "nothing was acknowledged" in answer.text and "sqlite" not in answer.text
    store._writing.execute("PRAGMA query_only=OFF")
    assert recommend(client, user_id="ann").json()["n_likes"] == 0


def test_prometheus_reads_what_happened(client):
    like(client, IDS[1])
    like(client, IDS[1], key="a b")  # refused
    recommend(client, user_id="ann")
    client.get("/similar/100")
    client.request("BREW", "/pot")
    text = client.get("/metrics").text
    for line in (
        'recsys_requests_total{method="POST",route="/feedback",status="201"} 1.0',
        'recsys_requests_total{method="POST",route="/feedback",status="422"} 1.0',
        'recsys_requests_total{method="GET",route="/similar/{item_id}",status="200"} 1.0',
        'recsys_requests_total{method="other",route="other",status="404"} 1.0',
        'recsys_feedback_total{value="like"} 1.0',
        'recsys_lists_total{arm="stable",basis="likes",version="als"} 1.0',
        "recsys_batch_queries_count 1.0",
        "recsys_requests_in_work 1.0",  # this one
    ):
        assert line in text.splitlines(), line


def test_the_pages_fetch_nothing_from_anywhere(client):
    for path in ("/", "/docs"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert not re.search(r"<script|src=|https?://(?!testserver)", answer.text)
    document = client.get("/openapi.json").json()
    page = client.get("/docs").text
    for route in document["paths"]:
        assert route in page
    assert "body: likes" in page and "query: k" in page and "409 It contradicts" in page
