"""Two networks and the gateway's namespace between them.

    sl-agents ── veth ── sl-gw ── veth ── sl-tools
    198.18.1.0/24     (the gateway)     198.18.2.0/24
    2001:db8:1::/64                     2001:db8:2::/64

The gateway's ends carry no address, no ARP and no IPv6: the kernel there answers and forwards
nothing, whatever passes was passed by the gateway. With `kernel_gateway` it is the other way round,
for proxies on kernel sockets: the gateway's addresses are the kernel's, the offloads stay on.
"""

import pathlib
import tempfile

from .process import Process, run

AGENTS4, AGENTS6 = "198.18.1", "2001:db8:1::"
TOOLS4, TOOLS6 = "198.18.2", "2001:db8:2::"
GATEWAY_AGENTS = (f"{AGENTS4}.1", f"{AGENTS6}1")
GATEWAY_TOOLS = (f"{TOOLS4}.1", f"{TOOLS6}1")
AGENT = (f"{AGENTS4}.2", f"{AGENTS6}2")
TOOL = (f"{TOOLS4}.2", f"{TOOLS6}2")

# What the kernel would leave to hardware that a veth pair does not have.
OFFLOADS = ("tx", "tso", "gso", "gro")


class Namespace:
    def __init__(self, name):
        self.name = name
        run("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")

    def command(self, *command):
        return ["ip", "netns", "exec", self.name, *map(str, command)]

    def run(self, *command, **kwargs):
        return run(*self.command(*command), **kwargs)

    def ip(self, *arguments):
        return run("ip", "-n", self.name, *arguments)

    def tc(self, *arguments):
        return run("tc", "-n", self.name, *arguments)

    def start(self, *command, log, **kwargs):
        return Process(self.command(*command), log, **kwargs)

    def sysctl(self, **settings):
        self.run("sysctl", "-qw", *(f"{k.replace('__', '.')}={v}" for k, v in settings.items()))

    def remove(self):
        run("ip", "netns", "del", self.name, check=False)


class Network:
    """Makes the three namespaces; remove() takes them away again. `wires` (lab/wire.py) has cables
    that are worse than a veth pair."""

    def __init__(self, mtu=1500, tools_vlan=0, suffix=None, kernel_gateway=False, wires=None):
        suffix = suffix or ""
        self.mtu = mtu
        self.ipv6 = mtu >= 1280  # less is no link for IPv6 (RFC 8200 section 5)
        self.kernel_gateway = kernel_gateway
        self.wires = wires
        self.tools_vlan = tools_vlan
        self.gateway = Namespace(f"sl-gw{suffix}")
        self.agents = Namespace(f"sl-agents{suffix}")
        self.tools = Namespace(f"sl-tools{suffix}")
        if not kernel_gateway:
            self.gateway.sysctl(net__ipv6__conf__all__disable_ipv6=1,
                                net__ipv6__conf__default__disable_ipv6=1)
        self.gateway.sysctl(net__ipv4__ip_forward=0)
        self._pair("sl-agents", self.agents, (AGENT, GATEWAY_AGENTS), 0)
        self._pair("sl-tools", self.tools, (TOOL, GATEWAY_TOOLS), tools_vlan)

    def _pair(self, name, namespace, addresses, vlan):
        (own4, own6), (gateway4, gateway6) = addresses
        namespace.sysctl(net__ipv6__conf__default__accept_ra=0)
        if self.wires:
            self.wires.join(self.gateway, name, namespace, self.mtu)
        else:
            run("ip", "link", "add", name, "netns", self.gateway.name, "mtu", self.mtu, "type",
                "veth", "peer", "name", "eth0", "netns", namespace.name, "mtu", self.mtu)
        self._gateway_end(name, namespace, gateway4, gateway6)
        namespace.ip("link", "set", "eth0", "up")
        if vlan:
            self._tag(namespace, vlan)
        namespace.ip("addr", "add", f"{own4}/24", "dev", "eth0")
        namespace.ip("route", "add", "default", "via", gateway4)
        if self.ipv6:
            namespace.ip("addr", "add", f"{own6}/64", "dev", "eth0", "nodad")
            namespace.ip("-6", "route", "add", "default", "via", gateway6)

    @staticmethod
    def _tag(namespace, vlan):
        """Everything on the namespace's eth0 is tagged. Not every kernel has VLAN devices; all
        have tc and BPF."""
        with tempfile.TemporaryDirectory() as folder:
            code = pathlib.Path(folder, "vlan.o")
            run("clang-19", "-O2", "-target", "bpf", f"-DVLAN={vlan}", "-c",
                pathlib.Path(__file__).with_name("vlan.bpf.c"), "-o", code)
            namespace.tc("qdisc", "add", "dev", "eth0", "clsact")
            for direction, section in (("egress", "leave"), ("ingress", "arrive")):
                namespace.tc("filter", "add", "dev", "eth0", direction, "bpf", "da", "obj", code,
                             "sec", section)

    def _gateway_end(self, name, namespace, address4, address6):
        if self.kernel_gateway:
            self.gateway.ip("link", "set", name, "up")
            self.gateway.ip("addr", "add", f"{address4}/24", "dev", name)
            self.gateway.ip("addr", "add", f"{address6}/64", "dev", name, "nodad")
            return
        self.gateway.ip("link", "set", name, "arp", "off", "up")
        off = [word for offload in OFFLOADS for word in (offload, "off")]
        namespace.run("ethtool", "-K", "eth0", *off)
        self.gateway.run("ethtool", "-K", name, *off)

    @staticmethod
    def device(name):
        """The DPDK device string of the gateway's end."""
        return f"net_af_packet0,iface={name}" if name == "sl-agents" else \
            f"net_af_packet1,iface={name}"

    def carrier(self, side, up):
        """Pulls or plugs the cable of "agents" or "tools"."""
        namespace = getattr(self, side)
        namespace.ip("link", "set", "eth0", "up" if up else "down")
        if up:
            addresses, gateway = ((AGENT, GATEWAY_AGENTS) if side == "agents" else
                                  (TOOL, GATEWAY_TOOLS))
            namespace.ip("-6", "addr", "replace", f"{addresses[1]}/64", "dev", "eth0", "nodad")
            namespace.ip("route", "replace", "default", "via", gateway[0])
            namespace.ip("-6", "route", "replace", "default", "via", gateway[1])

    def remove(self):
        for namespace in (self.agents, self.tools, self.gateway):
            namespace.remove()
        if self.wires:
            self.wires.remove()


def exists(name):
    return pathlib.Path("/run/netns", name).exists()
