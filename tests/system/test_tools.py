"""Tools that hang, reset, trickle, lie, or close pooled connections."""

import contextlib
import hashlib
import json
import time

import pytest

from lab.documents import HOST, agent_class, service
from lab.problems import assert_refused
from lab.process import until

pytestmark = [pytest.mark.asan, pytest.mark.two]
BOTH = pytest.mark.parametrize("http", ["2", "1.1"])


@BOTH
def test_hanging_tool(lab, http):
    began = time.monotonic()
    reply = lab.call("/hang", http=http)
    assert_refused(reply, 504, "step_timeout")
    assert 1.4 < time.monotonic() - began < 3.5


def test_agent_lowers_the_step_limit(lab):
    reply = lab.call("/hang", extra=["-H", "Agent-Step-Timeout: 300"])
    assert_refused(reply, 504, "step_timeout")
    assert 0.25 < reply.facts["time_total"] < 1.2


@BOTH
def test_tool_that_stops_in_the_body(lab, http):
    reply = lab.call("/hang-body", http=http)
    assert reply.status == 200 and reply.facts["exit"] != 0  # never a clean end
    assert reply.body == b"0123456789"


@BOTH
def test_resetting_tool(lab, http):
    assert_refused(lab.call("/reset", http=http, extra=["-X", "POST"]), 502, "upstream_reset")


@BOTH
@pytest.mark.parametrize("path", ["/reset-body", "/cut-body"])
def test_tool_that_breaks_off(lab, http, path):
    reply = lab.call(path, http=http)
    assert reply.status == 200 and reply.facts["exit"] != 0
    assert len(reply.body) <= 1000


@BOTH
def test_trickling_tool(lab, http):
    reply = lab.call("/trickle/30", http=http)
    assert reply.status == 200 and reply.body == bytes(range(30))


@BOTH
def test_closed_pooled_connection_is_replaced(lab, http):
    for _ in range(20):
        assert lab.call("/fin-after", http=http).body == b"bye\n"


def test_restarted_tool_is_noticed(lab):
    assert lab.call("/bytes/1").status == 200
    lab.tool.kill()
    lab.tool.start()
    assert lab.call("/bytes/1").status == 200


@pytest.mark.parametrize("shape", ["version", "length", "header", "garbage", "chunk"])
def test_tool_that_does_not_speak_http(lab, shape):
    reply = lab.call(f"/bad/{shape}")
    if shape == "chunk":  # its head was good and is on its way
        assert reply.facts["exit"] != 0 or reply.status == 502
    else:
        assert_refused(reply, 502, "upstream_protocol")


def test_tool_with_endless_headers(lab):
    reply = lab.call("/big-headers")
    assert reply.status == 502 and reply.json()["code"] in ("upstream_protocol",
                                                            "response_too_large")


@BOTH
def test_tool_that_refuses_an_upload_early(lab, http, tmp_path):
    file = tmp_path / "body"
    file.write_bytes(b"e" * 5_000_000)
    reply = lab.call("/refuse-body", http=http, extra=["--data-binary", f"@{file}"])
    assert reply.status in (413, 502)  # its answer, unless its reset overtook it


@BOTH
def test_tool_that_answers_before_the_upload_ends(lab, http, tmp_path):
    file = tmp_path / "body"
    # curl 7.88 reads no window updates any more when it has its answer: what fits into the window.
    # test_http2.py has the longer upload.
    file.write_bytes(b"e" * (2_000_000 if http == "1.1" else 200_000))
    reply = lab.call("/early-answer", http=http, extra=["--data-binary", f"@{file}"])
    assert reply.status == 200 and reply.body == b"early\n" and reply.facts["exit"] == 0


@BOTH
def test_slow_tool_slows_the_agent(lab, http, tmp_path):
    file = tmp_path / "body"
    data = b"s" * 12_000_000
    file.write_bytes(data)
    reply = lab.call("/drain", http=http, extra=["--data-binary", f"@{file}"])
    assert reply.status == 200 and reply.json()["sha256"] == hashlib.sha256(data).hexdigest()
    # The tool takes 16 KiB each 2 ms: what it leaves unread is not piled up in the gateway.
    assert reply.facts["time_total"] > 12_000_000 / 16384 * 0.002 / 2


def test_stopped_tool(lab):
    lab.nginx.file("docs/a", b"a")
    assert lab.get("/docs/a").status == 200
    lab.nginx.stop()
    try:
        for http in ("2", "1.1"):
            assert_refused(lab.get("/docs/a", http=http), 502, "connect_failed", retry_after=True)
    finally:
        lab.nginx.start()
    assert until(lambda: lab.get("/docs/a").status == 200, 5, "nginx serves again")


@contextlib.contextmanager
def another_tool(lab, name, **spec):
    """A service of its own at <name>.tools.example; its host."""
    host = f"{name}.tools.example"
    lab.gateway.apply(service(name, host=host, **spec),
                      agent_class("research", ["kb", "tool", name]))
    try:
        yield host
    finally:
        lab.gateway.apply(*lab.documents())
        lab.gateway.ok("DELETE", f"/v1/services/{name}")


@BOTH
def test_tool_that_is_not_there(lab, http):
    """Nobody answers for its address."""
    with another_tool(lab, "void", address="198.18.2.77", timeouts={"connect_ms": 400}) as host:
        reply = lab.get("/", host=host, http=http)
    assert_refused(reply, 504, "connect_timeout")
    assert 0.35 < reply.facts["time_total"] < 1


@pytest.fixture(name="mute")
def fixture_mute(lab):
    """An address in the tools' network whose answers vanish: SYNs come in, SYN-ACKs do not go out."""
    address, tools = "198.18.2.66", lab.network.tools
    tools.ip("addr", "add", f"{address}/32", "dev", "lo")
    tools.ip("rule", "add", "from", address, "blackhole")
    yield address
    tools.ip("rule", "del", "from", address, "blackhole")
    tools.ip("addr", "del", f"{address}/32", "dev", "lo")


@BOTH
def test_tool_that_does_not_answer_syns(lab, mute, http):
    with another_tool(lab, "mute", address=mute, timeouts={"connect_ms": 400}) as host:
        reply = lab.get("/", host=host, http=http)
    assert_refused(reply, 504, "connect_timeout")
    assert 0.35 < reply.facts["time_total"] < 1


@BOTH
def test_tool_that_does_not_answer_client_hellos(lab, http):
    """It takes the TCP connection: what is too long is TLS."""
    with another_tool(lab, "silent", port=8081, timeouts={"connect_ms": 2000, "tls_ms": 500},
                      tls={"enabled": True, "server_name": "silent.example"}) as host:
        reply = lab.get("/", host=host, http=http)
    assert_refused(reply, 504, "connect_timeout")
    assert "TLS handshake" in reply.json()["detail"]
    assert 0.45 < reply.facts["time_total"] < 1.5


def test_name_that_does_not_resolve(lab):
    with another_tool(lab, "nameless", address="no-such-name.invalid") as host:
        reply = lab.get("/", host=host)
    assert reply.json()["code"] in ("dns_failed", "dns_timeout")
    assert_refused(reply, reply.status, reply.json()["code"])


def test_tool_over_ipv6(lab):
    data = lab.nginx.file("docs/six", b"6" * 5000)
    with another_tool(lab, "kb6", address="2001:db8:2::2") as host:
        reply = lab.get("/docs/six", host=host)
    assert reply.status == 200 and reply.body == data


def test_tools_cable_pulled_during_a_download(lab):
    file = lab.nginx.www / "docs" / "cable.bin"
    file.write_bytes(bytes(range(256)) * 40_000)
    before = lab.gateway.counter("calls_finished")
    command = lab.agent.curl_command("/docs/cable.bin", token=lab.token,
                                     extra=["--limit-rate", "2M", "-m", "60"])
    child = lab.network.agents.start(*command, log=lab.folder / "cable.out")
    until(lambda: (lab.folder / "cable.out").stat().st_size > 1_000_000, 10, "download runs")
    lab.network.carrier("tools", False)
    time.sleep(0.5)  # the outage is the event under test
    lab.network.carrier("tools", True)
    child.wait(40)
    data = (lab.folder / "cable.out").read_bytes()
    (lab.folder / "cable.out").unlink()
    assert data == file.read_bytes() and child.popen.returncode == 0
    until(lambda: lab.gateway.counter("calls_finished") > before, 5, "the call has ended")


def test_two_services_share_nothing(lab):
    """A tool that hangs does not delay another."""
    hanging = [lab.network.agents.start(
        *lab.agent.curl_command("/hang", token=lab.token, host="tool.tools.example"),
        log=lab.folder / f"hang-{i}.out") for i in range(20)]
    lab.nginx.file("docs/quick", b"quick")
    times = [lab.get("/docs/quick").facts["time_total"] for _ in range(5)]
    for child in hanging:
        child.wait(15)
    assert max(times) < 0.5


def test_requests_of_a_retried_connection_arrive_once(lab):
    """A pooled connection that the tool closes does not make a call happen twice."""
    lab.call("/fin-after")
    before = len(lab.tool.requests.read_text().splitlines())
    reply = lab.call("/echo?once", extra=["-d", "x=1"])
    lines = [json.loads(line) for line in lab.tool.requests.read_text().splitlines()[before:]]
    assert reply.status == 200 and len([x for x in lines if "once" in x["start"]]) == 1


def test_host_for_the_tool_is_the_agents(lab):
    fields = dict(lab.call("/echo").json()["fields"])
    assert {k.lower(): v for k, v in fields.items()}["host"] == "tool.tools.example" != HOST
