"""The wire around calls: neighbours, echo, VLAN, MTU, workers."""

import re
import socket
import struct
import time

import pytest

from lab import network as net
from lab.clients import inside
from lab.documents import agent_class, service
from lab.frames import checksum
from lab.network import GATEWAY_AGENTS, GATEWAY_TOOLS
from lab.process import until
from lab.servers import Nginx

pytestmark = pytest.mark.asan


def echo(namespace, address, size=56, timeout=2.0, idents=iter(range(1, 60000))):
    """Round-trip time of one echo request in seconds; None without an answer."""
    six = ":" in address
    ident, payload = next(idents), bytes(i & 255 for i in range(size))
    with inside(namespace):
        sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW,
                             58 if six else 1)
    with sock:
        sock.settimeout(timeout)
        body = struct.pack("!HH", ident, 1) + payload
        head = bytes([128 if six else 8, 0])
        # The kernel fills in the ICMPv6 checksum, which covers a pseudo header.
        packet = head + struct.pack("!H", 0 if six else checksum(head + b"\0\0" + body)) + body
        began = time.perf_counter()
        sock.sendto(packet, (address, 0))
        while True:
            try:
                data = sock.recv(65535)
            except TimeoutError:
                return None
            took = time.perf_counter() - began
            icmp = data if six else data[(data[0] & 15) * 4:]
            if icmp[0] == (129 if six else 0) and icmp[4:] == body:
                return took


@pytest.mark.parametrize("address", GATEWAY_AGENTS)
@pytest.mark.parametrize("size", [0, 56, 1400])
def test_echo_from_agents(lab, address, size):
    assert echo(lab.network.agents, address, size) is not None


@pytest.mark.parametrize("address", GATEWAY_TOOLS)
def test_echo_from_tools(lab, address):
    assert echo(lab.network.tools, address) is not None


@pytest.mark.parametrize("address, size", [(GATEWAY_AGENTS[0], 1900), (GATEWAY_AGENTS[1], 4000)])
def test_fragmented_echo(lab, address, size):
    """Requests larger than the MTU come in fragments and are put together; so do the answers.

    net_af_packet asks the kernel to put IPv4 fragments together and cuts what exceeds its frames of
    2 KiB: a datagram of 1900 bytes is the largest that gets through there.
    """
    assert echo(lab.network.agents, address, size) is not None


def test_neighbours_are_answered(lab):
    namespace = lab.network.agents
    namespace.ip("neigh", "flush", "dev", "eth0")
    namespace.ip("-6", "neigh", "flush", "dev", "eth0")
    for address in GATEWAY_AGENTS:
        assert echo(namespace, address) is not None
    table = namespace.ip("neigh", "show", "dev", "eth0").stdout
    for address in GATEWAY_AGENTS:
        assert re.search(rf"^{re.escape(address)} .*lladdr", table, re.MULTILINE), table


def test_other_addresses_are_not_answered(lab):
    namespace = lab.network.agents
    assert echo(namespace, f"{net.AGENTS4}.200", timeout=0.5) is None


def test_nothing_is_routed_past_the_gateway(lab):
    """Agents reach tools through calls only: no packet of theirs is forwarded."""
    result = lab.network.agents.run("curl", "-sS", "-m", "1", f"http://{net.TOOL[0]}:8080/small",
                                    check=False)
    assert result.returncode != 0
    assert echo(lab.network.agents, net.TOOL[0], timeout=0.5) is None
    assert echo(lab.network.agents, net.TOOL[1], timeout=0.5) is None


def test_closed_port_is_refused_at_once(lab):
    with inside(lab.network.agents):
        sock = socket.socket()
    with sock:
        sock.settimeout(3)
        began = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            sock.connect((GATEWAY_AGENTS[0], 444))
        assert time.monotonic() - began < 0.5


def test_udp_to_a_closed_port(lab):
    with inside(lab.network.agents):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(3)
        sock.connect((GATEWAY_AGENTS[0], 53))
        sock.send(b"hello")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(100)


def start_kb(gateway, folder, **nginx):
    """nginx behind an own gateway; a token."""
    tool = Nginx(gateway.network, folder / "nginx", **nginx).start()
    gateway.apply(service(), agent_class())
    return tool, gateway.task("research")["token"]


def exchange(gateway, tool, token, size):
    data = tool.file("docs/data", bytes(range(256)) * (size // 256))
    for http in ("2", "1.1"):
        for family in (4, 6):
            reply = gateway.agent.curl("/docs/data", token=token, http=http, family=family)
            assert reply.status == 200 and reply.body == data
    upload = tool.folder / "upload"
    upload.write_bytes(data)
    reply = gateway.agent.curl("/up/data", token=token, extra=["-T", upload])
    assert reply.status == 201 and (tool.www / "up" / "data").read_bytes() == data


def test_vlan_port(own_gateway, folder):
    gateway = own_gateway("vlan", tools_vlan=120)
    tool, token = start_kb(gateway, folder / "vlan")
    exchange(gateway, tool, token, 1 << 20)
    tool.stop()
    gateway.settled()


def test_jumbo_frames(own_gateway, folder):
    gateway = own_gateway("jumbo", mtu=9000)
    tool, token = start_kb(gateway, folder / "jumbo")
    before = gateway.stats()["counters"]
    exchange(gateway, tool, token, 8 << 20)
    after = gateway.stats()["counters"]
    packets, octets = (after[k]["value"] - before[k]["value"] for k in ("rx_packets", "rx_bytes"))
    assert octets / packets > 2000  # large frames were really used
    assert echo(gateway.network.agents, GATEWAY_AGENTS[0], 8900) is not None
    tool.stop()
    gateway.settled()


def test_small_mtu(own_gateway, folder):
    gateway = own_gateway("small", mtu=1280)
    tool, token = start_kb(gateway, folder / "small")
    exchange(gateway, tool, token, 1 << 20)
    tool.stop()
    gateway.settled()


FAR = {4: ("203.0.113.7", "203.0.113.9", 32), 6: ("2001:db8:a::7", "2001:db8:b::9", 128)}


@pytest.mark.parametrize("http", ["2", "1.1"])
def test_behind_routers(own_gateway, folder, http):
    """Agents and tools in networks that the ports are not in: `gateway` of a port leads there."""
    def router(addresses):
        return f', gateway: [{addresses[0]}, "{addresses[1]}"]'

    gateway = own_gateway(f"routed{http[0]}", agents_extra=router(net.AGENT),
                          tools_extra=router(net.TOOL))
    network = gateway.network
    tool = Nginx(network, folder / f"routed{http[0]}" / "nginx").start()
    data = tool.file("docs/data", bytes(range(256)) * 4096)
    for family, (agent, address, bits) in FAR.items():
        network.agents.ip("addr", "add", f"{agent}/{bits}", "dev", "lo")
        network.tools.ip("addr", "add", f"{address}/{bits}", "dev", "lo")
        gateway.apply(service("far", address=address), agent_class("research", ["far"], sources=[]))
        task = gateway.task("research")
        reply = gateway.agent.curl("/docs/data", token=task["token"], http=http, family=family,
                                   extra=["--interface", agent])
        assert reply.status == 200 and reply.body == data
        record = until(lambda t=task: gateway.calls(task=t["txn"]), 5, "a record")[0]
        assert agent in record["agent"] and address in record["endpoint"]
    tool.stop()
    gateway.settled()


def test_two_workers(own_gateway, folder):
    """One queue per port: a worker polls it and hands the other its flows."""
    gateway = own_gateway("two", workers=(0, 1))
    tool, token = start_kb(gateway, folder / "two")
    exchange(gateway, tool, token, 1 << 20)
    load = gateway.agent.h2load("/small", token, requests=4000, clients=40, streams=4)
    assert load["succeeded"] == 4000, load["text"]
    finished = gateway.stats()["counters"]["calls_finished"]["workers"]
    assert len(finished) == 2 and all(n > 200 for n in finished), finished
    assert gateway.counter("redirected_packets") > 1000
    tool.stop()
    gateway.settled()


def test_address_of_another_host_is_not_used(own_gateway):
    """RFC 4862 section 5.4 and RFC 5227: asked for before use; who has it keeps it."""
    gateway = own_gateway("duplicate", start=False, duplicate_probes=1)
    agents = gateway.network.agents
    for address, bits in ((GATEWAY_AGENTS[0], 32), (GATEWAY_AGENTS[1], 128)):
        agents.ip("addr", "add", f"{address}/{bits}", "dev", "eth0",
                  *(["nodad"] if bits == 128 else []))
    gateway.start()
    ports = {port["name"]: port for port in gateway.ok("GET", "/v1/info")["ports"]}
    assert set(ports["agents"]["address_states"].values()) == {"duplicate"}
    assert set(ports["tools"]["address_states"].values()) == {"usable"}
    assert gateway.counter("address_conflicts") == 2
    assert f"another host has {GATEWAY_AGENTS[0]}; it is not used" in gateway.process.output()
    metrics = gateway.rest("GET", "/metrics").body.decode()
    assert (f'sluice_port_address{{port="agents",address="{GATEWAY_AGENTS[0]}/24",'
            'state="duplicate"} 1\n') in metrics
    assert echo(gateway.network.tools, GATEWAY_TOOLS[0]) is not None
    for family, address in ((4, GATEWAY_AGENTS[0]), (6, GATEWAY_AGENTS[1])):
        agents.ip(f"-{family}", "addr", "del", address, "dev", "eth0")
        assert echo(agents, address, timeout=0.5) is None


def test_spreading_is_shown(own_gateway):
    """A port whose device hashes as told says so, one that cannot says why not. (A device that lies
    is found out in unit_port: no driver that could be made to lie carries real traffic here.)"""
    spare = 'spare: {device: "net_null0,no-rx=1", addresses: [198.18.3.1/24]}'
    gateway = own_gateway("spread", workers=(0, 1), more_ports=[spare])
    ports = {port["name"]: port for port in gateway.ok("GET", "/v1/info")["ports"]}
    assert ports["spare"]["spreading"] == "rss" and not ports["spare"]["spreading_note"]
    assert ports["tools"]["spreading"] == "redirect"
    assert "no hash over the ports of TCP" in ports["tools"]["spreading_note"]
    metrics = gateway.rest("GET", "/metrics").body.decode()
    assert 'sluice_port_spreading{port="spare",mode="rss"} 1\n' in metrics
    assert 'sluice_port_spreading{port="tools",mode="redirect"} 1\n' in metrics
