"""Calls that must not pass, and malformed input over the wire."""

import json
import re
import threading
import time

import pytest

from lab.clients import parse_head, read_all
from lab.documents import HOST, service
from lab.problems import assert_refused
from lab.process import until
from lab.tokens import b64

pytestmark = [pytest.mark.asan, pytest.mark.two]
BOTH = pytest.mark.parametrize("http", ["2", "1.1"])


@BOTH
def test_no_token(lab, http):
    reply = lab.get("/docs/a", token=None, http=http)
    assert_refused(reply, 401, "token_missing", challenge=True, task=False)


@BOTH
def test_class_that_may_not(lab, http):
    other = lab.gateway.task("mail-only")["token"]
    assert_refused(lab.get("/docs/a", token=other, http=http), 403, "segment_forbidden")


def test_source_that_may_not(lab):
    elsewhere = lab.gateway.task("elsewhere")["token"]
    assert_refused(lab.get("/docs/a", token=elsewhere), 403, "segment_forbidden")


@BOTH
def test_deleted_task(lab, http):
    task = lab.gateway.task("research")
    lab.nginx.file("docs/a", b"a")
    assert lab.get("/docs/a", token=task["token"], http=http).status == 200
    lab.gateway.ok("DELETE", f"/v1/tasks/{task['txn']}")
    assert_refused(lab.get("/docs/a", token=task["token"], http=http), 401, "token_revoked",
                   challenge=True)


def test_deleting_a_task_ends_its_calls(lab):
    task = lab.gateway.task("research")
    replies = []
    thread = threading.Thread(
        target=lambda: replies.append(lab.call("/hang", token=task["token"])))
    thread.start()
    until(lambda: "/hang" in lab.tool.requests.read_text().rpartition('"start"')[2], 5,
          "call at the tool")
    lab.gateway.ok("DELETE", f"/v1/tasks/{task['txn']}")
    thread.join(5)
    assert replies and replies[0].facts["time_total"] < 1.4  # before the tool's own time is up
    assert_refused(replies[0], 401, "token_revoked", challenge=True)


@BOTH
def test_unknown_host(lab, http):
    assert_refused(lab.get("/", host="unknown.tools.example", http=http), 404, "service_unknown")


def test_scope(lab):
    narrow = lab.issuer.token("research", scope="mail kb/other")
    assert_refused(lab.get("/docs/a", token=narrow), 403, "scope_insufficient", challenge=True)
    wide = lab.issuer.token("research", scope="mail tool")
    assert lab.call("/bytes/1", token=wide).status == 200


def signed_by_nobody(lab, header, **claims):
    now = int(time.time())
    body = {"iss": lab.issuer.issuer, "aud": "sluice", "iat": now, "exp": now + 300, "jti": "x",
            "txn": "6f2c1ad4-0d2c-4e7c-9b8e-1d1f5a8a0001", "sub": "agent",
            "tctx": {"agent_class": "research"}, **claims}
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(body).encode())}."


def bad_tokens(lab):
    good = lab.issuer.token("research")
    head, body, signature = good.split(".")
    es256 = {"alg": "ES256", "kid": lab.issuer.kid, "typ": "txntoken+jwt"}
    sign = lab.issuer.token
    now = int(time.time())
    yield "garbage", "not-a-token"
    yield "two parts", f"{head}.{body}"
    yield "four parts", f"{good}.x"
    yield "empty signature", f"{head}.{body}."
    yield "flipped signature", f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    yield "other body", f"{head}.{b64(b'{}')}.{signature}"
    yield "padding", f"{head}=.{body}.{signature}"
    yield "alg none", signed_by_nobody(lab, {**es256, "alg": "none"})
    yield "alg HS256", signed_by_nobody(lab, {**es256, "alg": "HS256"}) + signature
    yield "alg not allowed", sign("research", header={**es256, "alg": "EdDSA"})
    yield "unknown kid", sign("research", header={**es256, "kid": "other"})
    yield "no typ of ours", sign("research", header={**es256, "typ": "JWT"})
    yield "crit", sign("research", header={**es256, "crit": ["exp"]})
    yield "other issuer", sign("research", iss="https://evil.example")
    yield "other audience", sign("research", aud="someone-else")
    yield "no exp", sign("research", exp=None)
    yield "no txn", sign("research", txn=None)
    yield "lives too long", sign("research", life=86400)
    yield "from the future", sign("research", iat=now + 3600, exp=now + 3700)
    yield "very long", "a" * 12000


def test_bad_tokens(lab):
    wrong = []
    for name, token in bad_tokens(lab):
        reply = lab.get("/docs/a", token=token)
        if reply.status != 401 or reply.json()["code"] != "token_invalid":
            wrong.append((name, reply))
    assert not wrong


def test_token_of_an_unknown_class(lab):
    """The token is good, the policy knows no segment for it."""
    assert_refused(lab.get("/docs/a", token=lab.issuer.token("nobody-knows")), 403,
                   "segment_forbidden")


def test_expired_token(lab):
    now = int(time.time())
    old = lab.issuer.token("research", iat=now - 400, exp=now - 100)
    assert_refused(lab.get("/docs/a", token=old), 401, "token_expired", challenge=True)


@BOTH
def test_two_tokens(lab, http):
    """Which of them speaks? Two fields of one name, and one of each name."""
    other = lab.gateway.task("research")["token"]
    for second in (f"Txn-Token: {lab.token}", f"Txn-Token: {other}"):
        reply = lab.get("/docs/a", extra=["-H", second], http=http)
        assert_refused(reply, 401, "token_invalid", challenge=True, task=False)


@pytest.mark.parametrize("value", ["abc", "-1", "1.5", "99999999999999999999"])
def test_bad_step_timeout(lab, value):
    reply = lab.call("/bytes/1", extra=["-H", f"Agent-Step-Timeout: {value}"])
    assert_refused(reply, 400, "request_invalid")


@pytest.mark.parametrize("path", ["/docs/%2e%2e/secret", "/docs/a%00b", "/docs/%zz"])
def test_paths_that_tools_read_differently(lab, path):
    reply = lab.get(path, extra=["--path-as-is"])
    assert_refused(reply, 400, "request_invalid")


def test_dot_segments_do_not_reach_the_tool(lab):
    reply = lab.get("/docs/../../etc/passwd", extra=["--path-as-is"])
    assert reply.status == 400


# -- HTTP/1.1 shapes that must not pass: RFC 9112, request smuggling

SHAPES = {
    "two content-lengths": "POST /echo HTTP/1.1\r\nHost: {h}\r\nContent-Length: 3\r\n"
                           "Content-Length: 4\r\n\r\nabcd",
    "content-length list": "POST /echo HTTP/1.1\r\nHost: {h}\r\nContent-Length: 3, 4\r\n\r\nabcd",
    "length and chunked": "POST /echo HTTP/1.1\r\nHost: {h}\r\nContent-Length: 4\r\n"
                          "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": "POST /echo HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked, chunked"
                     "\r\n\r\n0\r\n\r\n",
    "chunked not last": "POST /echo HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked, gzip"
                        "\r\n\r\n0\r\n\r\n",
    "unknown coding": "POST /echo HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "space before colon": "GET /echo HTTP/1.1\r\nHost : {h}\r\n\r\n",
    "obs-fold": "GET /echo HTTP/1.1\r\nHost: {h}\r\nX: 1\r\n 2\r\n\r\n",
    "bare LF": "GET /echo HTTP/1.1\nHost: {h}\n\n",
    "bare CR": "GET /echo HTTP/1.1\r\nHost: {h}\r\nX: a\rb\r\n\r\n",
    "NUL in value": "GET /echo HTTP/1.1\r\nHost: {h}\r\nX: a\0b\r\n\r\n",
    "no host": "GET /echo HTTP/1.1\r\nX: y\r\n\r\n",
    "two hosts": "GET /echo HTTP/1.1\r\nHost: {h}\r\nHost: {h}\r\n\r\n",
    "negative length": "POST /echo HTTP/1.1\r\nHost: {h}\r\nContent-Length: -1\r\n\r\n",
    "plus length": "POST /echo HTTP/1.1\r\nHost: {h}\r\nContent-Length: +1\r\n\r\na",
    "huge length": "POST /echo HTTP/1.1\r\nHost: {h}\r\nContent-Length: 99999999999999999999"
                   "\r\n\r\n",
    "hex chunk overflow": "POST /echo HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n"
                          "fffffffffffffffff\r\n",
    "bad version": "GET /echo HTTP/3.0\r\nHost: {h}\r\n\r\n",
    "spaces in target": "GET /echo a HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "empty name": "GET /echo HTTP/1.1\r\nHost: {h}\r\n: x\r\n\r\n",
    "garbage": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_smuggling_shapes(lab, shape):
    text = SHAPES[shape].replace("{h}", "tool.tools.example")
    start, rest = text.split("\n", 1)
    # With a good token the framing alone is what is refused; a second request must not be seen.
    text = f"{start}\nTxn-Token: {lab.token}{chr(13) if start.endswith(chr(13)) else ''}\n{rest}"
    smuggled = lab.request("/echo/smuggled").decode()
    before = lab.tool.requests.read_text() if lab.tool.requests.exists() else ""
    malformed = lab.gateway.counter("requests_malformed")
    data, _ = lab.raw((text + smuggled).encode("latin-1"), tls=False, port=80)
    status = parse_head(data.decode("latin-1"))[0]
    assert 400 <= status <= 505, data[:300]
    until(lambda: lab.gateway.counter("requests_malformed") == malformed + 1, 5, "counted")
    assert data.count(b"HTTP/1.1 ") <= 1, data
    assert "smuggled" not in lab.tool.requests.read_text()[len(before):]


def test_large_header_section(lab):
    fields = [word for i in range(90) for word in ("-H", f"X-Fill-{i}: {'y' * 1000}")]
    assert lab.call("/echo", http="1.1", extra=fields).status == 431


def test_long_target(lab):
    reply = lab.call("/echo?" + "a" * 60_000, http="1.1")
    assert reply.status in (414, 431)


def test_endless_header_section(lab):
    with lab.connect(tls=False, port=80) as sock:
        sock.sendall(b"GET /echo HTTP/1.1\r\nHost: tool.tools.example\r\n")
        try:
            for i in range(100_000):
                sock.sendall(b"X-%d: %s\r\n" % (i, b"z" * 500))
        except OSError:
            pass
        data, _ = read_all(sock)
    assert not data or b" 431 " in data.split(b"\r\n")[0]


def test_wrong_token_on_a_pipelined_connection(lab):
    data, _ = lab.raw(lab.request("/bytes/3") + lab.request("/bytes/4", token="nonsense")
                      + lab.request("/bytes/5", fields="Connection: close\r\n"), tls=False, port=80)
    statuses = re.findall(rb"HTTP/1.1 (\d+)", data)
    assert statuses == [b"200", b"401", b"200"]


def test_refused_upload_keeps_its_answer(lab, tmp_path):
    file = tmp_path / "body"
    file.write_bytes(b"u" * 3_000_000)
    for http in ("2", "1.1"):
        reply = lab.call("/echo", token="bad", http=http, extra=["--data-binary", f"@{file}"])
        assert_refused(reply, 401, "token_invalid", challenge=True, task=False)


def test_garbage_on_the_tls_port(lab):
    before = lab.gateway.leftovers()["connections"]
    failed = lab.gateway.counter("handshakes_failed")
    data, _ = lab.raw(b"GET / HTTP/1.1\r\n\r\n" * 10, tls=False, port=443)
    assert b"HTTP" not in data
    until(lambda: lab.gateway.leftovers()["connections"] <= before, 12, "connection gone")
    until(lambda: lab.gateway.counter("handshakes_failed") == failed + 1, 5, "counted")


def test_policy_change_takes_effect_at_once(lab):
    lab.nginx.file("docs/a", b"a")
    assert lab.get("/docs/a").status == 200
    lab.gateway.apply({"kind": "agent-class", "name": "research",
                       "spec": {"mode": "enforce", "allow": ["tool"]}})
    try:
        assert_refused(lab.get("/docs/a"), 403, "segment_forbidden")
    finally:
        lab.gateway.apply(*lab.documents())
    assert lab.get("/docs/a").status == 200


def test_audit_mode_says_what_it_would_have_done(lab):
    lab.nginx.file("docs/a", b"a")
    lab.gateway.apply({"kind": "agent-class", "name": "watched",
                       "spec": {"mode": "audit", "allow": ["mail"]}})
    try:
        token = lab.gateway.task("watched")["token"]
        reply = lab.get("/docs/a", token=token)
        assert reply.status == 200
        assert reply.headers["sluice-decision"] == "deny;reason=segment_forbidden;mode=audit"
    finally:
        lab.gateway.ok("DELETE", "/v1/agent-classes/watched")


def test_degrade_texts_are_in_the_record(lab):
    lab.gateway.apply(service("down", host="down.tools.example", port=9, degrade={
        "message": "Knowledge base unavailable", "hint": "Use search_issues."}))
    try:
        lab.gateway.apply({"kind": "agent-class", "name": "research",
                           "spec": {"allow": ["kb", "tool", "down"]}})
        reply = lab.get("/", host="down.tools.example")
        assert_refused(reply, 502, "connect_failed", retry_after=True)
        record = reply.json()
        assert "Knowledge base unavailable" in record["detail"]
        assert record["hint"] == "Use search_issues." and record["service"] == "down"
    finally:
        lab.gateway.apply(*lab.documents())
        lab.gateway.ok("DELETE", "/v1/services/down")


def test_host_is_case_insensitive(lab):
    data, _ = lab.raw(lab.request("/small", host=HOST.upper(), fields="Connection: close\r\n"),
                      tls=False, port=80)
    assert data.startswith(b"HTTP/1.1 200")
