"""Bad networks between the hosts and the gateway: tests/wire in a namespace in the middle.

    eth0 of a host ── veth ── sl-agents-p [wire] sl-agents-g ── veth ── the gateway's sl-agents
"""

import json
import subprocess

from .gateway import build_file
from .isolate import die_with_parent
from .network import OFFLOADS, Namespace, run
from .process import LabError


class Wire:
    """One program, between two interfaces of its namespace."""

    def __init__(self, namespace, peer_end, gateway_end):
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            namespace.command(build_file("tests/wire/wire"), peer_end, gateway_end), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        self._expect("ready")

    def _expect(self, wanted=None):
        answer = self.process.stdout.readline().strip()
        if wanted not in (None, answer) or not answer:
            raise LabError(f"wire: {answer!r}, expected {wanted!r}")
        return answer

    def _tell(self, command):
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def set(self, to_gateway="", to_peer="", seed=1):
        """Profiles as in tests/impair/profile.h; counters begin at zero."""
        self._tell(f"set {seed} {to_gateway} | {to_peer}")
        self._expect("ok")

    def stats(self):
        """(of what goes to the gateway, of what goes to the peer)"""
        self._tell("stats")
        return tuple(json.loads(self._expect()))

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


class Wires:
    """The cables of a Network with a wire in each; by the name of the host's side."""

    def __init__(self, suffix):
        self.namespace = Namespace(f"sl-wire{suffix}")
        self.namespace.sysctl(net__ipv6__conf__all__disable_ipv6=1,
                              net__ipv6__conf__default__disable_ipv6=1)
        self.wires = {}

    def join(self, gateway, name, host, mtu):
        """A cable from the gateway's device of that name to the host's eth0."""
        ends = f"{name}-p", f"{name}-g"
        off = [word for offload in OFFLOADS for word in (offload, "off")]
        for end, (device, namespace) in zip(ends, (("eth0", host), (name, gateway))):
            run("ip", "link", "add", device, "netns", namespace.name, "mtu", mtu, "type", "veth",
                "peer", "name", end, "netns", self.namespace.name, "mtu", mtu)
            self.namespace.run("ethtool", "-K", end, *off)
            self.namespace.ip("link", "set", end, "arp", "off", "up")
        self.wires[name.removeprefix("sl-")] = Wire(self.namespace, *ends)

    def remove(self):
        for wire in self.wires.values():
            wire.stop()
        self.namespace.remove()
