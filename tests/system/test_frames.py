"""Frames that must not pass: each dies under the counter that names it, and no other moves."""

import struct
import time

import pytest
from test_network import echo

from lab.frames import ARP, ICMP, ICMP6, TCP, UDP, Wire, flip
from lab.network import GATEWAY_AGENTS
from lab.process import until

pytestmark = pytest.mark.asan
TIMES = 5
PADDED = bytes(40)
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
NO_OPTIONS = b"\x01\x04\0\0\0\0"  # PadN over the rest of an extension header of eight bytes


def extension(following, length=0, rest=NO_OPTIONS):
    return bytes([following, length]) + rest


FRAMES = {
    # Ethernet
    "ethertype 0": (lambda w: w.ethernet(b"\0\0", PADDED), "drop_ether_type"),
    "unknown ethertype": (lambda w: w.ethernet(b"\x88\xb5", PADDED), "drop_ether_type"),
    "802.3 length": (lambda w: w.ethernet(b"\x00\x10", b"\xff" * 60), "drop_ether_type"),
    "vlan tag": (lambda w: w.ethernet(b"\x81\x00", b"\x00\x05" + w.ip4(w.tcp())[12:]), "drop_vlan"),
    # The kernel takes the first tag off before the gateway sees the frame.
    "three vlan tags": (lambda w: w.ethernet(
        b"\x81\0", b"\0\0\x81\0\0\0\x81\0\0\0" + w.ip4(w.tcp())[12:]), "drop_ether_type"),
    "zeros": (lambda w: bytes(60), "drop_link_destination"),
    "another's address": (lambda w: w.ip4(w.tcp(), to=b"\x02\0\0\0\0\x77"),
                          "drop_link_destination"),
    "unicast in a broadcast": (lambda w: w.ip4(w.tcp(), to=b"\xff" * 6), "drop_link_destination"),
    "the port's own address": (lambda w: w.ip4(w.tcp(), sender=w.gateway), "drop_own_frame"),
    # IPv4
    "version 7": (lambda w: w.ip4(w.tcp(), first=0x75), "drop_ip_header"),
    "header length 4": (lambda w: w.ip4(w.tcp(), first=0x44), "drop_ip_header"),
    "header cut short": (lambda w: w.ip4(w.tcp())[:30], "drop_ip_header"),
    "longer than its frame": (lambda w: w.ip4(w.tcp(), length=60000), "drop_ip_length"),
    "header checksum": (lambda w: w.ip4(w.tcp(), good=False), "drop_ip_checksum"),
    "option of length 0": (lambda w: w.ip4(w.tcp(), options=b"\x94\0\0\0"), "drop_ip_options"),
    "loose source route": (lambda w: w.ip4(w.tcp(), options=b"\x83\x07\x04" + bytes(5)),
                           "drop_source_route"),
    "from our address": (lambda w: w.ip4(w.tcp(), source="198.18.1.1"), "drop_ip_source"),
    "from a multicast address": (lambda w: w.ip4(w.tcp(), source="224.0.0.9"), "drop_ip_source"),
    "from loopback": (lambda w: w.ip4(w.tcp(), source="127.0.0.1"), "drop_ip_source"),
    "to somebody else": (lambda w: w.ip4(w.tcp(), target="198.18.1.77"), "drop_ip_destination"),
    "to the tools": (lambda w: w.ip4(w.tcp(), target="198.18.2.2"), "drop_ip_destination"),
    "unknown protocol": (lambda w: w.ip4(PADDED, 99), "drop_protocol"),
    # IPv6
    "IPv6 version 5": (lambda w: w.ip6(w.tcp(6), version=5), "drop_ip_header"),
    "IPv6 longer than its frame": (lambda w: w.ip6(w.tcp(6), length=2000), "drop_ip_length"),
    "IPv6 from a multicast address": (lambda w: w.ip6(w.tcp(6), source="ff02::1"),
                                      "drop_ip_source"),
    "IPv6 to somebody else": (lambda w: w.ip6(w.tcp(6), target="2001:db8:1::77"),
                              "drop_ip_destination"),
    "extension header cut short": (lambda w: w.ip6(extension(TCP, 9), DESTINATION),
                                   "drop_extension_header"),
    "hop-by-hop after another": (lambda w: w.ip6(
        extension(HOP_BY_HOP) + extension(TCP) + w.tcp(6), DESTINATION), "drop_extension_header"),
    "a hundred extension headers": (lambda w: w.ip6(
        extension(DESTINATION) * 99 + extension(TCP) + w.tcp(6), DESTINATION),
        "drop_extension_header"),
    "option that must be understood": (lambda w: w.ip6(
        extension(TCP, 0, b"\xbe\x04\0\0\0\0") + w.tcp(6), DESTINATION), "drop_extension_header"),
    "routing header": (lambda w: w.ip6(extension(TCP, 0, b"\0\x01\0\0\0\0") + w.tcp(6), ROUTING),
                       "drop_source_route"),
    "IPv6 fragment of odd length": (lambda w: w.ip6(
        extension(UDP, 0, b"\0\x01\0\0\0\x07") + bytes(13), FRAGMENT), "drop_fragment"),
    # transport
    "TCP cut short": (lambda w: w.ip4(w.tcp()[:11]), "drop_l4_truncated"),
    "TCP data offset 3": (lambda w: w.ip4(w.tcp(offset=3)), "drop_tcp_header_length"),
    "TCP data offset 15": (lambda w: w.ip4(w.tcp(offset=15)), "drop_tcp_header_length"),
    "TCP checksum": (lambda w: w.ip4(flip(w.tcp())), "drop_tcp_checksum"),
    "TCP checksum over IPv6": (lambda w: w.ip6(flip(w.tcp(6))), "drop_tcp_checksum"),
    "TCP port 0": (lambda w: w.ip4(w.tcp(source_port=0)), "drop_tcp_address"),
    "TCP to a closed port": (lambda w: w.ip4(w.tcp(port=444)), "drop_tcp_closed_port"),
    "UDP length 7": (lambda w: w.ip4(w.udp(length=7), UDP), "drop_udp_length"),
    "UDP longer than its packet": (lambda w: w.ip4(w.udp(length=100), UDP), "drop_udp_length"),
    "UDP checksum": (lambda w: w.ip4(flip(w.udp()), UDP), "drop_l4_checksum"),
    "ICMP cut short": (lambda w: w.ip4(b"\x08\0\0", ICMP), "drop_l4_truncated"),
    "ICMP checksum": (lambda w: w.ip4(flip(w.l4(ICMP, b"\x08\0\0\0" + PADDED)), ICMP),
                      "drop_l4_checksum"),
    "ICMP error about nothing": (lambda w: w.ip4(
        w.l4(ICMP, b"\x03\x01\0\0\0\0\0\0" + w.ip4(w.tcp())[14:]), ICMP), "drop_icmp"),
    # neighbour discovery: RFC 4861 section 7.1.1
    "solicitation from afar": (lambda w: w.solicitation(hops=254), "drop_nd"),
    "solicitation with code 1": (lambda w: w.solicitation(code=1), "drop_nd"),
    "solicitation of a group": (lambda w: w.solicitation(target="ff02::1"), "drop_nd"),
    "solicitation, option of length 0": (lambda w: w.solicitation(option=b"\1\0" + bytes(6)),
                                         "drop_nd"),
    "solicitation cut short": (lambda w: w.ip6(
        w.l4(ICMP6, struct.pack("!BBHI", 135, 0, 0, 0), 6), ICMP6, hops=255), "drop_nd"),
    "solicitation, checksum": (lambda w: flip(w.solicitation()), "drop_l4_checksum"),
    "solicitation of somebody else": (lambda w: w.solicitation(target="2001:db8:1::77"),
                                      "drop_nd_ignored"),
    # ARP: RFC 826
    "ARP hardware type": (lambda w: w.arp(hardware=7), "drop_arp"),
    "ARP protocol": (lambda w: w.arp(protocol=0x0801), "drop_arp"),
    "ARP address lengths": (lambda w: w.arp(sizes=(4, 6)), "drop_arp"),
    "ARP cut short": (lambda w: w.ethernet(ARP, bytes(20)), "drop_arp"),
    "ARP from a group": (lambda w: w.arp(sender=b"\x01\0\x5e\0\0\1"), "drop_arp"),
    "ARP from broadcast": (lambda w: w.arp(sender_ip="255.255.255.255"), "drop_arp"),
    "ARP about somebody else": (lambda w: w.arp(target="198.18.1.77", sender_ip="198.18.1.78"),
                                "drop_arp_ignored"),
}


def drops(lab):
    return {key: row["value"] for key, row in lab.gateway.stats()["counters"].items()
            if row["metric"] == "sluice_drops_total"}


@pytest.fixture(name="wire", scope="module")
def fixture_wire(shared_lab):
    """The wire, once the kernel has said all that it says to multicast groups of a new link."""
    seen, since = drops(shared_lab), time.monotonic()

    def quiet():
        nonlocal seen, since
        now = drops(shared_lab)
        if now != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since > 1.5

    until(quiet, 30, "nothing more is dropped", step=0.05)
    return Wire(shared_lab.network)


@pytest.mark.parametrize("name", FRAMES)
def test_malformed_frames_are_counted_by_name(lab, wire, name):
    build, counter = FRAMES[name]
    for address in GATEWAY_AGENTS:  # the gateway knows who to answer, where it does answer
        assert echo(lab.network.agents, address) is not None
    before = drops(lab)

    def moved():
        return {key: value - before[key] for key, value in drops(lab).items()
                if value != before[key]}

    wire.send(build(wire), TIMES)
    until(lambda: moved().get(counter, 0) >= TIMES, 3, f"{TIMES} drops")
    # An answer beyond its rate limit is a drop of its own.
    assert {k: n for k, n in moved().items() if k != "drop_icmp_rate"} == {counter: TIMES}


def test_good_frames_are_not(lab, wire):
    """What the frames above are made from is itself well formed."""
    before = lab.gateway.stats()["counters"]
    wire.send(wire.solicitation())
    wire.send(wire.arp())
    wire.send(wire.ip4(wire.l4(ICMP, b"\x08\0\0\0" + PADDED), ICMP))
    wire.send(wire.ip6(extension(ICMP6) + wire.l4(ICMP6, b"\x80\0\0\0" + PADDED, 6),
                       DESTINATION))
    until(lambda: lab.gateway.counter("icmp_echo_answered")
          == before["icmp_echo_answered"]["value"] + 2, 3, "two answers")
    assert drops(lab) == {key: before[key]["value"] for key in drops(lab)}
