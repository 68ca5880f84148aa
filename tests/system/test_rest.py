"""The control socket against the running daemon."""

import threading

import pytest

from lab.documents import agent_class, service

pytestmark = pytest.mark.asan


def refused(answer, status, pointer=None):
    assert answer.status == status, answer
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    record = answer.json()
    assert record["status"] == status and record["detail"]
    if pointer is not None:
        assert pointer in [e.get("pointer") for e in record["errors"]], record
    return record


def test_health_and_description(lab):
    assert lab.gateway.rest("GET", "/v1/livez").status == 200
    assert lab.gateway.rest("GET", "/v1/readyz").status == 200
    assert lab.gateway.ok("GET", "/v1/version")["version"]
    info = lab.gateway.ok("GET", "/v1/info")
    assert {"agents", "tools"} <= {port["name"] for port in info["ports"]}
    openapi = lab.gateway.ok("GET", "/v1/openapi.json")
    assert openapi["openapi"].startswith("3.1") and "/v1/tasks" in openapi["paths"]


def test_every_described_path_answers(lab):
    paths = lab.gateway.ok("GET", "/v1/openapi.json")["paths"]
    for path, methods in paths.items():
        if "get" in methods and "{" not in path:
            assert lab.gateway.rest("GET", path).status == 200, path


def test_resource_life(lab):
    document = {"spec": service("tmp", host="tmp.tools.example")["spec"]}
    created = lab.gateway.rest("PUT", "/v1/services/tmp", document)
    assert created.status == 201, created
    read = lab.gateway.rest("GET", "/v1/services/tmp")
    tag = read.headers["ETag"]
    assert read.json()["spec"]["hosts"] == ["tmp.tools.example"]
    stale = {"If-Match": '"g1"'}
    assert refused(lab.gateway.rest("PUT", "/v1/services/tmp", document, stale), 412)
    changed = {"spec": {**document["spec"], "hosts": ["tmp2.tools.example"]}}
    assert lab.gateway.rest("PUT", "/v1/services/tmp?dry_run=1", changed).status == 200
    assert lab.gateway.ok("GET", "/v1/services/tmp")["spec"]["hosts"] == ["tmp.tools.example"]
    assert lab.gateway.rest("PUT", "/v1/services/tmp", changed, {"If-Match": tag}).status == 200
    assert "tmp" in [i["name"] for i in lab.gateway.ok("GET", "/v1/services?limit=100")["items"]]
    assert lab.gateway.rest("DELETE", "/v1/services/tmp").status == 200
    refused(lab.gateway.rest("GET", "/v1/services/tmp"), 404)


@pytest.mark.parametrize("change, pointer", [
    ({"hostz": ["x.example"]}, "/spec/hostz"),
    ({"hosts": "x.example"}, "/spec/hosts"),
    ({"hosts": []}, "/spec/hosts"),
    ({"endpoints": [{"host": "198.18.2.2", "port": 70000}]}, "/spec/endpoints/0/port"),
    ({"endpoints": [{"host": "198.18.2.2", "port": "80"}]}, "/spec/endpoints/0/port"),
    ({"protocol": "gopher"}, "/spec/protocol"),
    ({"timeouts": {"step_ms": -1}}, "/spec/timeouts/step_ms"),
    ({"tools": [{"name": "a", "match": {"path": "("}}]}, "/spec/tools/0/match/path"),
])
def test_bad_documents_are_refused_with_a_pointer(lab, change, pointer):
    before = lab.gateway.ok("GET", "/v1/services")
    spec = {**service("bad", host="bad.tools.example")["spec"], **change}
    refused(lab.gateway.rest("PUT", "/v1/services/bad", {"spec": spec}), 400, pointer)
    assert lab.gateway.ok("GET", "/v1/services") == before


def test_apply_is_all_or_nothing(lab):
    good = service("half", host="half.tools.example")
    bad = agent_class("half", mode="sometimes")
    refused(lab.gateway.rest("POST", "/v1/apply", [good, bad]), 400, "/1/spec/mode")
    refused(lab.gateway.rest("GET", "/v1/services/half"), 404)


@pytest.mark.parametrize("body, status", [
    (b"{", 400), (b"", 400), (b"[1", 400), (b"nonsense", 400), (b'{"a":1,"a":2}', 400),
    (b"\xff\xfe", 400), (b"[" * 10000, 400), (b'"x"', 400), (b" " * (5 << 20), 413),
])
def test_bad_bodies(lab, body, status):
    for path in ("/v1/apply", "/v1/tasks"):
        refused(lab.gateway.rest("POST", path, body), status)


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/v1/nothing", 404), ("GET", "/", 404), ("DELETE", "/v1/version", 405),
    ("PATCH", "/v1/services/kb", 405), ("GET", "/v1/services?limit=0", 400),
    ("GET", "/v1/services?limit=x", 400), ("GET", "/v1/services?surprise=1", 400),
    ("GET", "/v1/tasks/not-a-uuid", 404), ("GET", "/v1/%zz", 400),
    ("DELETE", "/v1/tasks/9705a1d2-0000-4000-8000-000000000000", 404),
])
def test_bad_requests(lab, method, path, status):
    refused(lab.gateway.rest(method, path), status)


@pytest.mark.parametrize("body, pointer", [
    ({"subject": "a"}, "/agent_class"),
    ({"agent_class": "nobody", "subject": "a"}, "/agent_class"),
    ({"agent_class": "research", "subject": "a", "ttl_s": 901}, "/ttl_s"),
    ({"agent_class": "research", "subject": "a", "ttl_s": "long"}, "/ttl_s"),
    ({"agent_class": "research", "subject": "a", "tll_s": 1}, "/tll_s"),
])
def test_bad_tasks(lab, body, pointer):
    refused(lab.gateway.rest("POST", "/v1/tasks", body), 400, pointer)


def test_task_life(lab):
    task = lab.gateway.task("research", subject="agent-9", labels={"team": "x"})
    shown = lab.gateway.ok("GET", f"/v1/tasks/{task['txn']}")
    assert shown["agent_class"] == "research" and shown["state"] == "live"
    assert "token" not in shown
    assert lab.call("/bytes/1", token=task["token"]).status == 200
    listed = lab.gateway.ok("GET", "/v1/tasks?class=research&state=live&limit=1000")["items"]
    assert task["txn"] in [t["txn"] for t in listed]
    assert lab.gateway.ok("DELETE", f"/v1/tasks/{task['txn']}")["state"] == "revoked"


def test_paging(lab):
    seen, token = [], ""
    while True:
        page = lab.gateway.ok("GET", f"/v1/agent-classes?limit=1{token}")
        seen += [item["name"] for item in page["items"]]
        if "next_page_token" not in page:
            break
        token = f"&page_token={page['next_page_token']}"
    assert seen == sorted(seen) and {"research", "mail-only", "elsewhere"} <= set(seen)


def test_metrics_are_openmetrics(lab):
    answer = lab.gateway.rest("GET", "/metrics")
    text = answer.body.decode()
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n") and "sluice_calls_finished_total{" in text
    assert lab.token not in text
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_counters_add_up(lab):
    before = {k: v["value"] for k, v in lab.gateway.stats()["counters"].items()}
    for _ in range(5):
        assert lab.call("/bytes/1").status == 200
    lab.gateway.settled()
    after = {k: v["value"] for k, v in lab.gateway.stats()["counters"].items()}
    assert after["calls_started"] - before["calls_started"] == 5
    assert after["calls_finished"] - before["calls_finished"] == 5
    assert after["events_lost"] == 0 if "events_lost" in after else after["event_ring_full"] == 0


def test_requests_in_parallel(lab):
    bad = []

    def many():
        for _ in range(50):
            if lab.gateway.rest("GET", "/v1/stats").status != 200:
                bad.append(1)

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not bad
