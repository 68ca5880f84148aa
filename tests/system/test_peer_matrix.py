"""TCP against the Linux kernel on both sides: options, address families, MTUs, loss; tshark judges.

Each transfer crosses both roles of the gateway's TCP: server to the agent, client to the tool.
"""

import itertools

import pytest

from lab.bodies import digest_of
from lab.peers import FEATURES

pytestmark = pytest.mark.peer

PATHS = [(576, 4), *itertools.product((1280, 1500, 9000), (4, 6))]  # MTU, address family
SWITCHES = (*FEATURES, "loss")
DROP_PER_MILLION = 10_000


def pairwise():
    """Each value of each factor meets each value of each other at least once: per path one row of
    switches and its complement; over the rows no two switches always agree or always differ."""
    for number, (mtu, family) in enumerate(PATHS, 1):
        a, b, c = number & 1, number >> 1 & 1, number >> 2 & 1
        row = (a, b, c, a ^ b, a ^ c)
        yield mtu, family, *row
        yield mtu, family, *(1 - value for value in row)


def everything():
    for mtu, family in PATHS:
        yield from ((mtu, family, *row) for row in itertools.product((0, 1), repeat=len(SWITCHES)))


def cells(rows):
    """Parameters "peers" and "cell", in the order of MTUs so that each gateway starts once."""
    for mtu, family, *row in rows:
        named = dict(zip(SWITCHES, row))
        on = "+".join(name for name, value in named.items() if value) or "none"
        yield pytest.param(mtu, {"family": family, **named}, id=f"{mtu}-ipv{family}-{on}")


def exchange(peers, lengths, family):
    for length in lengths:
        answer = peers.download(length, family=family)
        assert (answer.status, answer.length) == (200, length), answer
        assert answer.sha256 == digest_of(length)
        answer = peers.upload(length, family=family)
        assert answer.status == 200, answer
        assert answer.json() == {"length": length, "sha256": digest_of(length)}


def judge(peers, verdicts, cell, out_of_order):
    """`out_of_order`: how many segments the gateway received that way; each is answered by a
    duplicate ACK (RFC 5681 section 4.2)."""
    duplicates = sum(verdict.gateway.found.pop("duplicate_ack", 0)
                     for verdict in verdicts.values())
    assert cell["loss"] or duplicates <= out_of_order
    for name, verdict in verdicts.items():
        gateway, peer = verdict.gateway, verdict.peer
        assert not verdict.defects, verdict.defects
        assert gateway.resets == 0 and peer.resets == 0
        assert gateway.largest_frame <= peers.network.mtu + 14
        stamped = gateway.options["timestamp.tsval"]
        assert stamped == (gateway.segments - gateway.syns if cell["timestamps"] else 0)
        if not cell["sack"]:
            assert gateway.options["sack_le"] == 0
        if cell["loss"]:
            lost = peers.links[name].arriving.counters()
            budget = 1.3 * lost["dropped_payload"] + 2 * peers.network.mtu
            assert gateway.repeated <= budget, (name, lost, gateway.found, gateway.examples)
            assert gateway.spurious_payload <= 0.01 * gateway.distinct + peers.network.mtu, (
                name, gateway.examples)
        else:
            for side in (gateway, peer):
                assert not side.unclean() and side.repeated == 0, (name, side.examples)


def run_cell(peers, cell, lengths):
    peers.configure(**{name: cell[name] for name in FEATURES})
    captures, before = peers.capture(), peers.gateway.counter("tcp_out_of_order")
    if cell["loss"]:
        peers.impair(drop_per_million=DROP_PER_MILLION, seed=9293)
    exchange(peers, lengths, cell["family"])
    if cell["loss"]:
        for link in peers.links.values():
            assert link.arriving.counters()["dropped"] > 0
            assert link.leaving.counters()["dropped"] > 0
    out_of_order = peers.gateway.counter("tcp_out_of_order") - before
    judge(peers, peers.judge(captures), cell, out_of_order)


def small_lengths(mtu):
    return 1, mtu - 40, 65537


@pytest.mark.parametrize("peer_lab, cell", cells(pairwise()), indirect=["peer_lab"])
def test_pairwise(peers, cell):
    run_cell(peers, cell, (*small_lengths(peers.network.mtu), 3_000_000))


@pytest.mark.long
@pytest.mark.parametrize("peer_lab, cell", cells(everything()), indirect=["peer_lab"])
def test_every_combination(peers, cell):
    run_cell(peers, cell, (*small_lengths(peers.network.mtu), 30_000_000))


@pytest.mark.parametrize("peer_lab", [1500], indirect=True)
@pytest.mark.parametrize("family", [4, 6])
def test_100_megabytes(peers, family):
    exchange(peers, [100_000_000], family)


@pytest.mark.long
@pytest.mark.parametrize("peer_lab, family", PATHS, indirect=["peer_lab"])
def test_1_gigabyte(peers, family):
    exchange(peers, [1 << 30], family)


@pytest.mark.asan
@pytest.mark.parametrize("peer_lab", [1500], indirect=True)
@pytest.mark.parametrize("sack", [True, False])
def test_drop_duplicate_and_corrupt_everything(peers, sack):
    """Segments of every kind, both ways; what arrives is what was sent."""
    peers.configure(sack=sack)
    bad = {"all": 1, "drop_per_million": 10_000, "duplicate_per_million": 10_000, "seed": 7}
    peers.impair(**bad)
    for link in peers.links.values():  # of what leaves, the checksum is made after BPF has seen it
        link.arriving.set(**bad, corrupt_per_million=5_000)
    exchange(peers, [1, 100_000, 3_000_000], 4)
    for link in peers.links.values():
        arrived, left = link.arriving.counters(), link.leaving.counters()
        assert arrived["dropped"] and arrived["duplicated"] and arrived["corrupted"], arrived
        assert left["dropped"] and left["duplicated"], left
