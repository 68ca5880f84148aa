"""Frames made by hand, from the agents' network to the gateway."""

import re
import socket
import struct

from .clients import inside
from .network import AGENT, GATEWAY_AGENTS

ARP, IP4, IP6 = b"\x08\x06", b"\x08\x00", b"\x86\xdd"
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58


def checksum(data):
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def four(address):
    return socket.inet_aton(address)


def six(address):
    return socket.inet_pton(socket.AF_INET6, address)


def with_checksum(data, offset, pseudo=b""):
    data = data[:offset] + b"\0\0" + data[offset + 2:]
    return data[:offset] + struct.pack("!H", checksum(pseudo + data)) + data[offset + 2:]


CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMP6: 2}


class Wire:
    """The link between the agents' namespace and the gateway."""

    def __init__(self, network):
        self.network = network
        self.own = self._mac(network.agents, "eth0")
        self.gateway = self._mac(network.gateway, "sl-agents")

    @staticmethod
    def _mac(namespace, device):
        shown = namespace.ip("link", "show", device).stdout
        return bytes.fromhex(re.search(r"ether ([\da-f:]+)", shown).group(1).replace(":", ""))

    def send(self, frame, times=1):
        with inside(self.network.agents):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with sock:
            sock.bind(("eth0", 0))
            for _ in range(times):
                sock.send(frame)

    def ethernet(self, kind, payload, to=None, sender=None):
        return (to or self.gateway) + (sender or self.own) + kind + payload

    def ip4(self, payload, protocol=TCP, source=AGENT[0], target=GATEWAY_AGENTS[0], options=b"",
            fragment=0, length=None, first=None, good=True, **link):
        """A frame with an IPv4 packet whose checksum is right unless `good` is not."""
        header = struct.pack("!BBHHHBBH4s4s", first or 0x45 + len(options) // 4, 0,
                             length or 20 + len(options) + len(payload), 1, fragment, 64, protocol,
                             0, four(source), four(target)) + options
        header = with_checksum(header, 10)
        if not good:
            header = header[:10] + bytes([header[10] ^ 0x55]) + header[11:]
        return self.ethernet(IP4, header + payload, **link)

    def ip6(self, payload, following=TCP, source=AGENT[1], target=GATEWAY_AGENTS[1], hops=64,
            length=None, version=6, **link):
        header = struct.pack("!IHBB", version << 28, len(payload) if length is None else length,
                             following, hops) + six(source) + six(target)
        return self.ethernet(IP6, header + payload, **link)

    def l4(self, protocol, data, version=4, source=None, target=None):
        """The data with the checksum of this protocol over the pseudo header."""
        i = 0 if version == 4 else 1
        source, target = source or AGENT[i], target or GATEWAY_AGENTS[i]
        if protocol == ICMP:
            pseudo = b""
        elif version == 4:
            pseudo = four(source) + four(target) + struct.pack("!BBH", 0, protocol, len(data))
        else:
            pseudo = six(source) + six(target) + struct.pack("!II", len(data), protocol)
        return with_checksum(data, CHECKSUM_AT[protocol], pseudo)

    def tcp(self, version=4, port=443, offset=5, flags=2, source_port=1234):
        """A segment; a SYN unless told otherwise."""
        return self.l4(TCP, struct.pack("!HHIIBBHHH", source_port, port, 1, 0, offset << 4, flags,
                                        1000, 0, 0), version)

    def udp(self, length=None, port=53, data=b"hello"):
        return self.l4(UDP, struct.pack("!HHHH", 1234, port, length or 8 + len(data), 0) + data)

    def solicitation(self, target=GATEWAY_AGENTS[1], code=0, option=None, **ip):
        """A neighbour solicitation (RFC 4861) to the gateway."""
        option = b"\x01\x01" + self.own if option is None else option
        body = self.l4(ICMP6, struct.pack("!BBHI", 135, code, 0, 0) + six(target) + option, 6)
        return self.ip6(body, ICMP6, hops=ip.pop("hops", 255), **ip)

    def arp(self, hardware=1, protocol=0x0800, sizes=(6, 4), operation=1, sender=None,
            sender_ip=AGENT[0], target=GATEWAY_AGENTS[0]):
        return self.ethernet(ARP, struct.pack("!HHBBH", hardware, protocol, *sizes, operation)
                             + (sender or self.own) + four(sender_ip) + bytes(6) + four(target))


def flip(frame, position=-1):
    """The frame with one byte changed."""
    frame = bytearray(frame)
    frame[position] ^= 0x55
    return bytes(frame)
