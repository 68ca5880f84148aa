"""TCP against the Linux kernel over networks with delay: loss, reordering, corruption, bottlenecks,
routers with a smaller MTU, blackouts, and exactly this or that segment lost. On both sides of the
gateway lies a wire (tests/wire), so that it meets each of them as server and as client."""

import time

import pytest

from lab.bodies import digest_of
from lab.process import until

pytestmark = pytest.mark.peer


def set_wires(peers, profile="", seed=1):
    """Both directions of both wires."""
    for number, wire in enumerate(peers.wires.values()):
        wire.set(profile, profile, seed=2 * seed + number)


def exchange(peers, length, family=4, transfers=("download", "upload")):
    """The seconds that each took."""
    took = []
    for transfer in transfers:
        began = time.monotonic()
        answer = getattr(peers, transfer)(length, family=family)
        took.append(time.monotonic() - began)
        digest = answer.sha256 if transfer == "download" else answer.json()["sha256"]
        assert (answer.status, digest) == (200, digest_of(length)), answer
    return took


@pytest.mark.parametrize("family", [4, 6])
def test_delay_and_loss(wired, family):
    """What is sent again is what the wire lost, and little more: copies that arrive although the
    first one did are less than three tenths of the lost bytes."""
    captures = wired.capture()
    set_wires(wired, "delay=5ms loss=0.01")
    exchange(wired, 1_500_000, family)
    lost = {name: wire.stats()[1]["lost_payload"]
            for name, wire in wired.wires.items()}
    for name, verdict in wired.judge(captures).items():
        assert not verdict.defects, verdict.defects
        assert verdict.gateway.resets == 0
        assert lost[name] > 0
        assert verdict.gateway.repeated <= 0.3 * lost[name] + 3000, (
            name, lost, verdict.gateway.found, verdict.gateway.examples)


@pytest.mark.parametrize("family", [4, 6])
def test_reordering(wired, family):
    """Nothing is lost; at most what came late is sent again, once."""
    captures = wired.capture()
    set_wires(wired, "delay=5ms reorder=0.02/4")
    exchange(wired, 1_500_000, family)
    late = {name: wire.stats()[1]["reordered"] for name, wire in wired.wires.items()}
    for name, verdict in wired.judge(captures).items():
        assert not verdict.defects, verdict.defects
        assert late[name] > 0
        assert verdict.gateway.repeated <= (late[name] + 2) * 1448, (
            name, late, verdict.gateway.found, verdict.gateway.examples)


@pytest.mark.asan
@pytest.mark.parametrize("sack", [True, False])
def test_bursts_of_loss_jitter_duplicates_and_corruption(wired, sack):
    wired.configure(sack=sack)
    set_wires(wired, "delay=2ms jitter=1ms gilbert=0.002/0.3 duplicate=0.01 corrupt=0.01")
    before = wired.gateway.counter("drop_tcp_checksum")
    exchange(wired, 1_000_000)
    assert wired.gateway.counter("drop_tcp_checksum") > before
    for wire in wired.wires.values():
        for way in wire.stats():
            assert way["corrupted"] and way["duplicated"] and way["refused"] == 0, way


@pytest.mark.parametrize("family", [4, 6])
def test_bottleneck(wired, family):
    """2.5 MB/s with a queue of twice the bandwidth-delay product, filled by one connection."""
    rate, length = 2_500_000, 4_000_000
    set_wires(wired, f"delay=5ms rate={rate} queue=50000")
    for took in exchange(wired, length, family):
        assert length / took > 0.6 * rate, f"{length / took:.0f} bytes per second"


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("transfer, side", [("download", "agents"), ("upload", "tools")])
def test_router_with_a_smaller_mtu(wired, family, transfer, side):
    """RFC 1191, RFC 8201: the wire answers what is too big; the gateway makes it smaller."""
    for namespace in wired.sides.values():  # or the peers' MSS would say what they learned before
        namespace.ip(f"-{family}", "route", "flush", "cache")
    set_wires(wired, "delay=1ms mtu=1300")
    with wired.gateway.counted("tcp_path_mtu_lowered", "tcp_timeouts") as counted:
        exchange(wired, 1_000_000, family, transfers=[transfer])
    assert counted.rise["tcp_path_mtu_lowered"] == 1
    assert counted.rise["tcp_timeouts"] == 0
    too_big = wired.wires[side].stats()[1]["too_big"]
    assert 0 < too_big <= 50, too_big  # what was on its way when the answer came


@pytest.mark.asan
def test_blackout(wired):
    """Two seconds of nothing in the midst of a transfer, on both sides of the gateway."""
    set_wires(wired, "delay=2ms rate=1000000 blackout=500ms+2s")
    for took in exchange(wired, 1_000_000):
        assert took < 10
        set_wires(wired, "delay=2ms rate=1000000 blackout=500ms+2s")


# The first transmission of each of the last eight segments.
TAIL = " ".join(f"drop:seq={at}-{at + 1447}:len=1" for at in range(90_000, 102_000, 1448))
EXACT = {
    "syn": ("drop:flags=S:clear=A", ""),
    "syn-ack": ("drop:flags=SA", "drop:flags=SA"),
    "syn-ack twice": ("", "drop:flags=SA:count=2"),
    "ack of syn": ("drop:flags=A:clear=S:maxlen=0", "drop:flags=A:clear=S:maxlen=0"),
    "first data": ("drop:len=1", "drop:len=1"),
    "first data twice": ("drop:len=1:count=2", "drop:len=1:count=2"),
    "last data": ("drop:seq=99000-102000:len=1", "drop:seq=99000-102000:len=1"),
    "tail": (TAIL, TAIL),
    "fin": ("drop:flags=F", "drop:flags=F"),
    "fin twice": ("drop:flags=F:count=2", "drop:flags=F:count=2"),
}


@pytest.mark.asan
@pytest.mark.parametrize("which", EXACT)
def test_exactly_this_segment_lost(wired, which):
    """Mended within the first few timeouts, without a reset."""
    to_gateway, to_peer = EXACT[which]
    for name, wire in wired.wires.items():
        ways = (to_gateway, to_peer) if name == "agents" else (to_peer, to_gateway)
        wire.set(*(f"delay=1ms {rule}" for rule in ways))
    with wired.gateway.counted("tcp_estab_resets", "tcp_attempt_fails") as counted:
        for took in exchange(wired, 100_000):
            assert took < 8
        until(lambda: wired.gateway.leftovers() == wired.gateway.base, 10, "all is closed")
    assert counted.rise == {"tcp_estab_resets": 0, "tcp_attempt_fails": 0}
    assert any(way["rule"] for wire in wired.wires.values()
               for way in wire.stats())
