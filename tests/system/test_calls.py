"""Calls that pass: versions, address families, bodies and framing."""

import hashlib
import json
import os
import re

import pytest

from lab import http2
from lab import network as net
from lab.clients import parse_head, read_all
from lab.documents import HOST
from lab.process import run, until

pytestmark = [pytest.mark.asan, pytest.mark.two]
WORKERS = len(os.environ.get("SLUICE_WORKERS", "1").split(","))
BOTH = pytest.mark.parametrize("http", ["2", "1.1"])


def pattern(length):
    block = bytes(range(256)) * 4096
    return (block * (length // len(block) + 1))[:length]


@BOTH
@pytest.mark.parametrize("family", [4, 6])
def test_get(lab, http, family):
    data = lab.nginx.file("docs/page.txt", b"The returns policy.\n" * 100)
    reply = lab.get("/docs/page.txt", http=http, family=family)
    assert reply.status == 200 and reply.body == data
    assert reply.facts["http_version"] == http


def test_plain_http_listener(lab):
    data = lab.nginx.file("docs/page.txt", b"plain\n")
    reply = lab.get("/docs/page.txt", http="1.1", scheme="http")
    assert reply.status == 200 and reply.body == data


@BOTH
@pytest.mark.parametrize("length", [0, 1, 1459, 1460, 65535, 65536, 1 << 20, 20_000_000])
def test_download_is_exact(lab, http, length):
    reply = lab.call(f"/bytes/{length}", http=http)
    assert reply.status == 200
    assert reply.body == pattern(length)


@BOTH
@pytest.mark.parametrize("length", [1, 1459, 16384, 65536, 1 << 20, 20_000_000])
def test_upload_is_exact(lab, http, length, tmp_path):
    file = tmp_path / "body"
    file.write_bytes(pattern(length))
    reply = lab.call("/echo", http=http, extra=["--data-binary", f"@{file}"])
    assert reply.status == 200
    seen = reply.json()
    assert seen["length"] == length
    assert seen["sha256"] == hashlib.sha256(pattern(length)).hexdigest()


@BOTH
def test_chunked_download(lab, http):
    reply = lab.call("/chunked/123456", http=http)
    assert reply.status == 200 and reply.body == pattern(123456)


@BOTH
def test_trailers_reach_the_agent(lab, http):
    reply = lab.call("/chunked/3000", http=http, extra=["-H", "TE: trailers"])
    assert reply.body == pattern(3000)
    assert re.search(r"^x-end: yes", reply.raw, re.IGNORECASE | re.MULTILINE), reply.raw


TRAILERS = [("x-sum", "abc"), ("x-two", "2"), ("txn-token", "secret"), ("authorization", "Basic x")]
FRAMING = [("content-length", "7"), ("host", "other.example")]  # HTTP/2: a malformed request


def with_trailers(lab, http):
    """A POST of eleven bytes with the trailers; what the tool saw."""
    if http == "1.1":
        head = lab.request("/echo", "POST", fields="Transfer-Encoding: chunked\r\n"
                           "Trailer: X-Sum, X-Two\r\nConnection: close\r\n")
        trailers = "".join(f"{name}: {value}\r\n" for name, value in TRAILERS + FRAMING)
        data, _ = lab.raw(head + b"b\r\nhello world\r\n0\r\n" + trailers.encode() + b"\r\n")
        return json.loads(data.partition(b"\r\n\r\n")[2])
    with http2.Connection(lab) as connection:
        block = http2.request("/echo", "tool.tools.example", "POST", txn_token=lab.token)
        connection.send(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, block),
                        http2.frame(http2.DATA, 0, 1, b"hello world"),
                        http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 1,
                                    b"".join(http2.field(*t) for t in TRAILERS)))
        return json.loads(connection.until(lambda f: f.kind == http2.DATA).payload)


@BOTH
def test_trailers_reach_the_tool(lab, http):
    """RFC 9110 section 6.5: but for fields that frame, route or authenticate."""
    seen = with_trailers(lab, http)
    assert seen["length"] == 11 and seen["sha256"] == hashlib.sha256(b"hello world").hexdigest()
    assert [[name.lower(), value] for name, value in seen["trailers"]] == [["x-sum", "abc"],
                                                                           ["x-two", "2"]]


@BOTH
def test_body_that_ends_with_the_connection(lab, http):
    reply = lab.call("/close/70000", http=http)
    assert reply.status == 200 and reply.body == pattern(70000)


@BOTH
def test_chunked_upload(lab, http, tmp_path):
    file = tmp_path / "body"
    file.write_bytes(pattern(300_000))
    reply = lab.call("/echo", http=http,
                     extra=["-H", "Transfer-Encoding: chunked", "-T", file, "-X", "POST"])
    assert reply.status == 200
    assert reply.json()["sha256"] == hashlib.sha256(pattern(300_000)).hexdigest()


@BOTH
def test_expect_100_continue(lab, http, tmp_path):
    file = tmp_path / "body"
    file.write_bytes(pattern(50_000))
    reply = lab.call("/echo", http=http,
                     extra=["-H", "Expect: 100-continue", "--expect100-timeout", "20",
                            "--data-binary", f"@{file}"])
    assert reply.status == 200 and reply.json()["length"] == 50_000
    assert reply.facts["time_total"] < 10  # the agent was told to go on, it did not give up waiting


@BOTH
def test_informational_answers_do_not_confuse(lab, http):
    assert lab.call("/early", http=http).body == b"hints\n"
    assert lab.call("/status/102", http=http).body == b"final\n"


@BOTH
@pytest.mark.parametrize("status", [200, 201, 301, 400, 404, 500, 503])
def test_status_passes(lab, http, status):
    reply = lab.call(f"/status/{status}", http=http)
    assert reply.status == status and reply.body == b"status\n"
    assert "proxy-status" not in reply.headers  # the tool's answer, not the gateway's


@BOTH
@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_body(lab, http, status):
    reply = lab.call(f"/status/{status}", http=http)
    assert reply.status == status and reply.body == b"" and reply.headers["x-tool"] == "yes"
    assert lab.call("/status/200", http=http).status == 200


@BOTH
def test_head(lab, http):
    reply = lab.call("/bytes/5000", http=http, extra=["-I"])
    assert reply.status == 200 and reply.headers["content-length"] == "5000"
    assert reply.body == b"" or reply.body.startswith(b"HTTP/")  # curl -I writes the head itself


@BOTH
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"])
def test_methods_pass(lab, http, method):
    reply = lab.call("/echo?a=1&b=%20", http=http, extra=["-X", method, "-d", "x=1"])
    assert reply.status == 200
    assert reply.json()["method"] == method and reply.json()["length"] == 3


def test_request_target_passes_unchanged(lab):
    lab.call("/echo/a%20b%c3%a9/c?q=1%2F2&r=%C3%A9")
    last = json.loads(lab.tool.requests.read_text().splitlines()[-1])
    assert last["start"] == "GET /echo/a%20b%c3%a9/c?q=1%2F2&r=%C3%A9 HTTP/1.1"


def seen_fields(reply):
    return {name.lower(): value for name, value in reply.json()["fields"]}


@BOTH
def test_what_a_tool_sees(lab, http):
    reply = lab.call("/echo", http=http, extra=[
        "-H", "Sluice-Decision: forged", "-H", "Proxy-Status: forged", "-H", "Forwarded: for=1",
        "-H", "X-Forwarded-For: 1.2.3.4", "-H", "Accept-Language: de",
        "-H", "traceparent: 00-11111111111111111111111111111111-2222222222222222-01",
        "-H", "Cookie: a=1", "-H", "Authorization: Basic dTpw"])
    fields = seen_fields(reply)
    assert not [f for f in fields if f.startswith(("sluice-", "x-forwarded-"))]
    assert not {"proxy-status", "forwarded", "txn-token"} & set(fields)
    assert lab.token not in json.dumps(fields)
    assert fields["accept-language"] == "de" and fields["cookie"] == "a=1"
    assert fields["authorization"] == "Basic dTpw"  # the tool's own, not a task token
    assert fields["host"] == "tool.tools.example"
    version, trace, _, flags = fields["traceparent"].split("-")
    assert (version, flags) == ("00", "01")
    assert trace != "1" * 32


def test_trace_id_is_the_task(lab):
    task = lab.gateway.task("research")
    reply = lab.call("/echo", token=task["token"])
    trace = seen_fields(reply)["traceparent"].split("-")[1]
    assert trace == task["txn"].replace("-", "") == task["trace_id"]


def test_bearer_token_is_not_forwarded(lab):
    reply = lab.call("/echo", header="Authorization")
    assert reply.status == 200 and "authorization" not in seen_fields(reply)


@BOTH
def test_hop_by_hop_fields_end_here(lab, http):
    if http == "2":
        reply = lab.call("/echo", http=http, extra=["-H", "TE: trailers"])
        assert "te" not in seen_fields(reply) or seen_fields(reply)["te"] == "trailers"
        return
    reply = lab.call("/echo", http=http, extra=[
        "-H", "Connection: X-Private, keep-alive", "-H", "X-Private: 1", "-H", "Keep-Alive: 5",
        "-H", "Upgrade: h2c", "-H", "Proxy-Connection: close"])
    assert reply.status == 200
    assert not {"x-private", "keep-alive", "upgrade", "proxy-connection"} & set(seen_fields(reply))


def test_token_of_an_outside_issuer(lab):
    reply = lab.call("/echo", token=lab.issuer.token("research"))
    assert reply.status == 200


def test_connections_to_the_tool_are_pooled(lab):
    numbers = [lab.call("/echo").json()["connection"] for _ in range(20)]
    assert len(set(numbers)) <= WORKERS, numbers  # each worker has its own


def test_call_record(lab):
    task = lab.gateway.task("research", subject="agent-7")
    lab.nginx.file("docs/record.txt", b"r" * 1234)
    assert lab.get("/docs/record.txt?secret=1", token=task["token"]).status == 200
    record = until(lambda: lab.gateway.calls(task=task["txn"]), 5, "a record")[0]
    assert record["status"] == 200 and record["code"] == "ok"
    assert record["path"] == "/docs/record.txt" and record["method"] == "GET"
    assert record["service"] == "kb" and record["tool"] == "*"
    assert record["agent_class"] == "research" and record["subject"] == "agent-7"
    assert record["bytes_out"] == 1234 and record["attempts"] == 1
    assert record["trace_id"] == task["trace_id"] and record["http_version"] == "2"
    assert record["agent"].startswith(net.AGENT[0]) and record["endpoint"].startswith(net.TOOL[0])
    stages = record["stages_us"]
    assert set(stages) == {"receive", "identify", "classify", "authorize", "connect", "send",
                           "wait", "respond"}
    assert 0 < sum(stages.values()) <= record["total_us"] * 1.01 + 2


def test_pipelined_requests_are_answered_in_order(lab):
    with lab.connect() as sock:
        sock.sendall(b"".join(lab.request(f"/bytes/{n}") for n in (10, 2000, 30, 0, 50))
                     + lab.request("/bytes/7", fields="Connection: close\r\n"))
        data, ending = read_all(sock)
    assert ending == "fin"
    lengths = re.findall(rb"content-length: (\d+)", data, re.IGNORECASE)
    assert [int(n) for n in lengths] == [10, 2000, 30, 0, 50, 7]
    assert data.count(b"HTTP/1.1 200") == 6


def test_half_closing_agent_gets_its_answer(lab):
    with lab.connect(tls=False, port=80) as sock:
        sock.sendall(lab.request("/trickle/20", fields="Connection: close\r\n"))
        sock.shutdown(1)
        data, ending = read_all(sock)
    assert ending == "fin" and data.endswith(pattern(20))


def test_request_in_single_bytes(lab):
    with lab.connect(tls=False, port=80) as sock:
        for byte in lab.request("/bytes/5", fields="Connection: close\r\n"):
            sock.sendall(bytes([byte]))
        data, _ = read_all(sock)
    assert parse_head(data.decode("latin-1"))[0] == 200 and data.endswith(pattern(5))


def test_openssl_s_client(lab):
    result = lab.network.agents.run(
        "openssl", "s_client", "-connect", f"{net.GATEWAY_AGENTS[0]}:443", "-servername", HOST,
        "-CAfile", lab.authority.ca, "-verify_return_error", "-alpn", "h2,http/1.1", "-tls1_3",
        input="Q\n", check=False)
    assert "Verify return code: 0 (ok)" in result.stdout, result.stdout + result.stderr
    assert "TLSv1.3" in result.stdout and "ALPN protocol: h2" in result.stdout
    assert "Server Temp Key: X25519" in result.stdout


def test_tls_1_2_is_refused(lab):
    result = lab.network.agents.run(
        "openssl", "s_client", "-connect", f"{net.GATEWAY_AGENTS[0]}:443", "-servername", HOST,
        "-tls1_2", check=False)
    assert result.returncode != 0 and "protocol version" in result.stdout + result.stderr


def test_tls_resumption(lab, tmp_path):
    ticket = tmp_path / "ticket"
    common = ["openssl", "s_client", "-connect", f"{net.GATEWAY_AGENTS[0]}:443", "-servername",
              HOST, "-CAfile", lab.authority.ca, "-tls1_3"]
    request = lab.request("/bytes/1", fields="Connection: close\r\n").decode()
    first = lab.network.agents.run(*common, "-ign_eof", "-sess_out", ticket, input=request,
                                   check=False)
    assert "200" in first.stdout, first.stdout + first.stderr
    second = lab.network.agents.run(*common, "-ign_eof", "-sess_in", ticket, input=request,
                                    check=False)
    assert "Reused, TLSv1.3" in second.stdout, second.stdout[-2000:]


def test_h2load_loses_nothing(lab):
    load = lab.agent.h2load("/small", lab.token, requests=3000, clients=10, streams=10)
    assert load["codes"] == (3000, 0, 0, 0), load["text"]
    load = lab.agent.h2load("/small", lab.token, requests=500, clients=10, streams=1, http="1.1")
    assert load["codes"] == (500, 0, 0, 0), load["text"]


def test_nothing_of_the_kernel_answers(lab):
    sockets = run("ip", "netns", "exec", lab.network.gateway.name, "ss", "-Hltn").stdout
    assert "198.18" not in sockets and ":443" not in sockets
