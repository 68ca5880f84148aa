"""TCP against the Linux kernel on both sides: many short connections, and peers that stop, shrink
their windows, close half, or die."""

import concurrent.futures
import signal
import threading
import time

import pytest

from lab.bodies import body_of, digest_of
from lab.peers import TINY_HOST, TINY_PORT, PeerTool
from lab.process import until

pytestmark = pytest.mark.peer

MINUTE = 60
SHORT = 10_000


def many(peers, count, length=1, family=4):
    """So many calls, each on connections of its own; how long the slowest took."""
    def one(_):
        began = time.monotonic()
        answer = peers.download(length, family=family)
        assert (answer.status, answer.sha256) == (200, digest_of(length)), answer
        return time.monotonic() - began

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return max(pool.map(one, range(count)))


def test_10000_short_connections(peers):
    with peers.gateway.counted("tcp_passive_opens", "tcp_active_opens", "tcp_attempt_fails",
                               "tcp_estab_resets", "tcp_port_exhausted",
                               "drop_tcp_table_full") as counted:
        many(peers, SHORT)
        peers.gateway.settled()
    assert counted.rise == {"tcp_passive_opens": SHORT, "tcp_active_opens": SHORT,
                            "tcp_attempt_fails": 0, "tcp_estab_resets": 0, "tcp_port_exhausted": 0,
                            "drop_tcp_table_full": 0}


@pytest.mark.asan
@pytest.mark.parametrize("timestamps", [True, False])
def test_ports_used_again_in_time_wait(peers, timestamps):
    """RFC 6191, RFC 9293 section 3.6.1: the agents have 100 ports for 1,000 connections that the
    gateway closes first; none has to wait for the end of TIME-WAIT."""
    peers.configure(timestamps=timestamps)
    with peers.sysctls("agents", net__ipv4__ip_local_port_range="50000 50099"), \
            peers.gateway.counted("tcp_time_wait_reused", "tcp_passive_opens") as counted:
        slowest = many(peers, 1000)
    assert counted.rise["tcp_passive_opens"] == 1000
    assert counted.rise["tcp_time_wait_reused"] >= 900, counted.rise
    assert slowest < 1, "a SYN was sent twice"


def wait_for_probes(counted, seconds):
    """Until the gateway has probed the closed window three times, and for so long in all."""
    began = time.monotonic()
    until(lambda: counted.now("tcp_zero_window_probes") >= 3 and
          time.monotonic() - began >= seconds, seconds + 30, "probes into the closed window",
          step=0.02)


def stopped_agent(peers, seconds, length=60_000_000, rate="1G"):
    output = peers.folder / "stopped"
    output.unlink(missing_ok=True)
    with peers.gateway.counted("tcp_zero_window_probes", "tcp_give_ups") as counted:
        agent = peers.curl(f"/body/{length}", output, "--limit-rate", rate)
        until(lambda: output.exists() and output.stat().st_size > 100_000, 20, "it flows")
        agent.signal(signal.SIGSTOP)
        wait_for_probes(counted, seconds)
        assert output.stat().st_size < length
        agent.signal(signal.SIGCONT)
        assert agent.wait(30) == 0, agent.output()
    assert output.read_bytes() == b"".join(body_of(length))
    assert counted.rise["tcp_give_ups"] == 0


def stopped_tool(peers, seconds, length=60_000_000, flowing=100_000):
    with peers.gateway.counted("tcp_zero_window_probes", "tcp_give_ups",
                               "tcp_data_octets_out") as counted, \
            concurrent.futures.ThreadPoolExecutor(1) as pool:
        if not flowing:
            peers.tool.process.signal(signal.SIGSTOP)
        go_on = threading.Event()
        upload = pool.submit(peers.upload, length, pause_at=10 * flowing or None, go_on=go_on,
                             timeout=seconds + 60)
        until(lambda: counted.now("tcp_data_octets_out") > flowing, 20, "it flows")
        peers.tool.process.signal(signal.SIGSTOP)
        go_on.set()
        try:
            wait_for_probes(counted, seconds)
            assert not upload.done()
        finally:
            peers.tool.process.signal(signal.SIGCONT)
        answer = upload.result(60)
    assert answer.json() == {"length": length, "sha256": digest_of(length)}
    assert counted.rise["tcp_give_ups"] == 0


@pytest.mark.asan
def test_agent_that_stops_reading(peers):
    stopped_agent(peers, 0)


@pytest.mark.asan
def test_tool_that_stops_reading(peers):
    stopped_tool(peers, 0)


@pytest.mark.long
@pytest.mark.parametrize("stopped", [stopped_agent, stopped_tool])
def test_peer_stopped_for_a_minute(peers, stopped):
    stopped(peers, MINUTE)


@pytest.mark.long
def test_sender_stopped_for_a_minute(peers):
    length, output = 60_000_000, peers.folder / "silent"
    output.unlink(missing_ok=True)
    agent = peers.curl(f"/body/{length}", output)
    until(lambda: output.exists() and output.stat().st_size > 1_000_000, 20, "it flows")
    peers.tool.process.signal(signal.SIGSTOP)
    time.sleep(MINUTE)  # the silence is what is tested
    peers.tool.process.signal(signal.SIGCONT)
    assert agent.wait(30) == 0, agent.output()
    assert output.read_bytes() == b"".join(body_of(length))


@pytest.fixture
def tiny_tool(peers):
    tool = PeerTool(peers.network, peers.folder, port=TINY_PORT, receive_buffer=1)
    yield tool
    tool.stop()


@pytest.mark.asan
@pytest.mark.parametrize("peer_lab", [1500, 9000], indirect=True)
def test_receive_buffers_smaller_than_a_segment(peers, tiny_tool):
    """Both peers take the least that the kernel allows: windows below one segment, or closed."""
    length = 100_000
    answer = peers.download(length, receive_buffer=1)
    assert answer.sha256 == digest_of(length)
    answer = peers.upload(length, host=TINY_HOST)
    assert answer.json() == {"length": length, "sha256": digest_of(length)}


@pytest.mark.parametrize("peer_lab", [576], indirect=True)
def test_windows_that_shrink(peers):
    """RFC 9293 section 3.8.6: a sender must survive a right edge that moves left. It does when
    small segments fill the buffer of a reader that stopped: they take more memory than promised."""
    with peers.sysctls("agents", "tools", net__ipv4__tcp_shrink_window=1,
                       net__ipv4__tcp_rmem="4096 131072 1048576"):
        captures = peers.capture()
        stopped_agent(peers, 0, length=4_000_000, rate="1M")
        stopped_tool(peers, 0, length=4_000_000, flowing=0)
        verdicts = peers.judge(captures)
    for verdict in verdicts.values():
        assert verdict.peer.retreats > 0 and verdict.gateway.retreats == 0


@pytest.fixture
def zeros(peers):
    """A large file that takes no room."""
    file = peers.folder / "zeros"
    with open(file, "wb") as made:
        made.truncate(1_000_000_003)
    yield file
    file.unlink()


def endings(peers, path):
    """How connections of calls with this path ended at the tool."""
    return [row for row in peers.tool.ended() if f" {path} " in row["call"]]


@pytest.mark.asan
@pytest.mark.parametrize("family", [4, 6])
def test_half_closing_tool(peers, family):
    """The tool's FIN ends the body; the gateway's own FIN follows, no RST."""
    length = 1_000_003 + family
    answer = peers.download(length, path="half", family=family)
    assert (answer.status, answer.length, answer.sha256) == (200, length, digest_of(length))
    ended = until(lambda: endings(peers, f"/half/{length}"), 5, "the tool's connection ends")
    assert [row["end"] for row in ended] == ["fin"]


@pytest.mark.asan
@pytest.mark.parametrize("family", [4, 6])
def test_half_closing_agent(peers, family):
    length = 1_000_013 + family
    with peers.transfer(family) as call:
        call.ask("GET", f"/body/{length}")
        call.sock.shutdown(1)
        answer = call.answer()
    assert (answer.length, answer.sha256) == (length, digest_of(length))


@pytest.mark.asan
def test_agent_killed_while_it_receives(peers):
    length, output = 1_000_000_001, peers.folder / "killed"
    output.unlink(missing_ok=True)
    agent = peers.curl(f"/body/{length}", output)
    until(lambda: output.exists() and output.stat().st_size > 1_000_000, 20, "it flows")
    agent.kill()
    until(lambda: endings(peers, f"/body/{length}"), 10, "the tool's connection ends")
    peers.gateway.settled()


@pytest.mark.asan
def test_agent_killed_while_it_sends(peers, zeros):
    length = zeros.stat().st_size
    with peers.gateway.counted("tcp_data_octets_out") as counted:
        agent = peers.curl("/digest/killed", peers.folder / "answer", "-T", zeros)
        until(lambda: counted.now("tcp_data_octets_out") > 1_000_000, 20, "it flows")
        agent.kill()
        ended = until(lambda: endings(peers, "/digest/killed"), 10,
                      "the tool's connection ends")
    assert ended[0]["received"] < length
    peers.gateway.settled()


@pytest.mark.asan
@pytest.mark.parametrize("receiving", [True, False])
def test_tool_killed_in_a_transfer(peers, zeros, receiving):
    """The agent learns that the exchange is incomplete, and nothing is left behind."""
    length, output = 1_000_000_007, peers.folder / "cut"
    output.unlink(missing_ok=True)
    with peers.gateway.counted("tcp_data_octets_out") as counted:
        if receiving:
            agent = peers.curl("/digest", output, "-T", zeros, "-w", "%{http_code}")
        else:
            agent = peers.curl(f"/body/{length}", output)
        until(lambda: counted.now("tcp_data_octets_out") > 1_000_000, 20, "it flows")
        peers.tool.process.kill()
        code = agent.wait(20)
    peers.tool = PeerTool(peers.network, peers.folder)
    if receiving:
        assert code != 0 or agent.output().endswith("502"), agent.output()
    else:
        assert code != 0 and output.stat().st_size < length, agent.output()
    peers.gateway.settled()
