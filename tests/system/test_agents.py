"""Agents that vanish, stall, reset or come in crowds."""

import os
import pathlib
import re
import signal
import socket
import struct
import time

import pytest

from lab.clients import read_all
from lab.process import until

pytestmark = [pytest.mark.asan, pytest.mark.two]
BOTH = pytest.mark.parametrize("http", ["2", "1.1"])
TOOL_HOST = "tool.tools.example"


def start_curl(lab, path, http, *extra):
    out = lab.folder / "client.out"
    out.unlink(missing_ok=True)
    command = lab.agent.curl_command(path, token=lab.token, host=TOOL_HOST, http=http, extra=extra)
    return lab.network.agents.start(*command, log=out), out


@BOTH
def test_agent_killed_in_a_download(lab, http):
    child, out = start_curl(lab, "/bytes/300000000", http, "--limit-rate", "3M")
    until(lambda: out.stat().st_size > 500_000, 10, "download runs")
    child.kill()
    out.unlink()
    until(lambda: [c for c in lab.gateway.calls(limit=5) if c["agent_gone"]], 10,
          "record that says the agent went")


@BOTH
def test_agent_killed_while_the_tool_thinks(lab, http):
    child, _ = start_curl(lab, "/hang", http)
    until(lambda: "/hang" in lab.tool.requests.read_text().splitlines()[-1], 5, "call at the tool")
    child.kill()


@pytest.mark.slow
def test_agent_whose_cable_is_pulled(lab):
    """It cannot say goodbye: retransmission gives up or the agent comes back and resets."""
    child, out = start_curl(lab, "/bytes/300000000", "2", "--limit-rate", "3M")
    until(lambda: out.stat().st_size > 500_000, 10, "download runs")
    lab.network.carrier("agents", False)
    child.kill()
    out.unlink()
    time.sleep(1)  # the outage
    lab.network.carrier("agents", True)
    lab.gateway.settled(30)
    assert lab.call("/bytes/1").status == 200


@BOTH
def test_agent_that_stops_reading(lab, http):
    """A zero window for a while: memory stays bounded, the rest comes when it reads on."""
    child, out = start_curl(lab, "/bytes/30000000", http)
    until(lambda: out.exists() and out.stat().st_size > 0, 10, "download runs")
    child.signal(signal.SIGSTOP)
    try:
        before = rss(lab.gateway.process.pid)
        time.sleep(2)  # the pause is the event under test
        assert rss(lab.gateway.process.pid) - before < growth(16 << 20)
        assert lab.call("/bytes/1000").status == 200
    finally:
        child.signal(signal.SIGCONT)
    child.wait(30)
    assert out.stat().st_size == 30_000_000
    out.unlink()


def rss(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) * 1024


def growth(release):
    """The sanitizer keeps freed memory for a while, and shadows all of it."""
    return 64 << 20 if os.environ.get("SLUICE_BUILD") == "asan" else release


def test_agent_with_a_tiny_window(lab):
    with lab.connect(tls=False, port=80, receive_buffer=2304) as sock:
        sock.sendall(lab.request("/bytes/200000", fields="Connection: close\r\n"))
        data, ending = read_all(sock)
    assert ending == "fin" and len(data.split(b"\r\n\r\n", 1)[1]) == 200_000


def test_agent_that_resets(lab):
    for path in ("/bytes/5000000", "/hang", "/trickle/100"):
        sock = lab.connect(tls=False, port=80)
        sock.sendall(lab.request(path))
        if path != "/hang":
            sock.recv(100)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


def test_agent_that_leaves_in_an_upload(lab):
    sock = lab.connect()
    sock.sendall(lab.request("/echo", method="POST", fields="Content-Length: 1000000\r\n"))
    sock.sendall(b"x" * 100_000)
    sock.close()
    lab.gateway.settled(10)


def test_agent_that_connects_and_says_nothing(lab):
    sockets = [lab.connect(tls=False, port=443) for _ in range(20)]
    assert lab.call("/bytes/1").status == 200
    for sock in sockets:
        sock.close()


@pytest.mark.slow
def test_slow_headers_end_in_time(lab):
    with lab.connect(tls=False, port=80) as sock:
        sock.settimeout(30)
        sock.sendall(b"GET /echo HTTP/1.1\r\nHost: tool.tools.example\r\n")
        began = time.monotonic()
        data, _ = read_all(sock)
        assert 5 < time.monotonic() - began < 20
        assert data == b"" or b" 408 " in data.split(b"\r\n")[0]


@pytest.mark.slow
def test_stalled_handshake_ends_in_time(lab):
    with lab.connect(tls=False, port=443) as sock:
        sock.settimeout(40)
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")  # the start of a ClientHello
        began = time.monotonic()
        read_all(sock)
        assert time.monotonic() - began < 30


def test_many_connections(lab):
    """300 TLS connections at once, each with a call."""
    sockets = []
    try:
        for _ in range(300):
            sockets.append(lab.connect())
        for sock in sockets:
            sock.sendall(lab.request("/small", host="kb.tools.example"))
        for sock in sockets:
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        now = lab.gateway.leftovers()["connections"]
        assert now == lab.gateway.base["connections"] + 300
    finally:
        for sock in sockets:
            sock.close()


def test_many_short_connections(lab):
    load = lab.agent.h2load("/small", lab.token, requests=400, clients=400, streams=1)
    assert load["succeeded"] == 400, load["text"]
    load = lab.agent.h2load("/small", lab.token, requests=400, clients=400, streams=1, http="1.1")
    assert load["succeeded"] == 400, load["text"]


def test_no_growth_over_many_calls(lab):
    """Memory after thousands of calls is what it was after the first hundreds."""
    def calls(count):
        load = lab.agent.h2load("/small", lab.token, requests=count, clients=20, streams=5)
        assert load["succeeded"] == count, load["text"]

    calls(2000)
    lab.gateway.settled(10)
    first = rss(lab.gateway.process.pid)
    for _ in range(3):
        calls(2000)
    lab.gateway.settled(10)
    assert rss(lab.gateway.process.pid) - first < growth(4 << 20)


def test_concurrent_transfers_are_exact(lab):
    children = []
    for i in range(12):
        out = lab.folder / f"par-{i}.out"
        out.unlink(missing_ok=True)
        command = lab.agent.curl_command(f"/bytes/{2_000_000 + i}", token=lab.token,
                                         host=TOOL_HOST, http="2" if i % 2 else "1.1",
                                         family=4 if i % 3 else 6)
        children.append((lab.network.agents.start(*command, log=out), out, 2_000_000 + i))
    block = bytes(range(256)) * 4096
    for child, out, length in children:
        child.wait(60)
        assert out.read_bytes() == (block * 3)[:length]
        out.unlink()
