"""Kernel TCP on both sides of the gateway: it is server to the agent and client to the tool.

Agents speak plain HTTP/1.1, so nothing but TCP lies between the two ends of a transfer.
"""

import contextlib
import hashlib
import http.client
import json
import pathlib
import socket
import time

from . import network as net
from .bodies import body_of
from .capture import Capture, Verdict, link_address
from .certificates import Authority
from .clients import inside
from .documents import agent_class, service
from .gateway import SANITIZER, Gateway
from .impair import BadLink
from .process import LabError, Process, until
from .servers import listening
from .wire import Wires

HERE = pathlib.Path(__file__).resolve().parent
HOST = "peer.tools.example"
PORT = 8090
TINY_HOST, TINY_PORT = "tiny.tools.example", 8091  # for a tool with a receive buffer of its own
FEATURES = ("sack", "timestamps", "window_scaling", "ecn")
PATIENT = {"connect_ms": 10_000, "first_byte_ms": 600_000, "step_ms": 600_000,
           "idle_ms": 600_000}


class PeerTool:
    """lab/peer_tool.py in the tools' namespace."""

    def __init__(self, network, folder, port=PORT, receive_buffer=None):
        self.network, self.folder, self.port = network, pathlib.Path(folder), port
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / f"ended-{port}.jsonl"
        options = ["--receive-buffer", receive_buffer] if receive_buffer else []
        self.process = Process(network.tools.command(
            "/usr/bin/python3", HERE / "peer_tool.py", port, self.log, *options),
            self.folder / f"tool-{port}.log")
        until(lambda: listening(network.tools, port), 10, "the tool listens")

    def ended(self):
        """What the tool wrote of each connection that ended."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self):
        self.process.stop()


def peer_service(name="peer", host=HOST, port=PORT, family=4):
    address = net.TOOL[0] if family == 4 else net.TOOL[1]
    return service(name, host, port=port, address=address, timeouts=PATIENT,
                   retry={"attempts": 1})


class Transfer:
    """One call of an agent: a kernel socket in its namespace."""

    def __init__(self, network, token, family=4, host=HOST, receive_buffer=None, timeout=60):
        self.token, self.host = token, host
        with inside(network.agents):
            self.sock = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
        self.sock.settimeout(timeout)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect((net.GATEWAY_AGENTS[0 if family == 4 else 1], 80))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def ask(self, method, path, length=None):
        size = "" if length is None else f"Content-Length: {length}\r\n"
        self.sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n"
                          f"Txn-Token: {self.token}\r\n{size}Connection: close\r\n\r\n".encode())

    def send_body(self, length, pause_at=None, go_on=None):
        """With a pause before the byte `pause_at`, or a little earlier, until `go_on` is set."""
        sent = 0
        for block in body_of(length):
            if pause_at is not None and sent + len(block) > pause_at:
                if not go_on.wait(60):
                    raise LabError("nobody lets the upload go on")
                pause_at = None
            self.sock.sendall(block)
            sent += len(block)

    def answer(self):
        """What comes up to the gateway's FIN."""
        response = http.client.HTTPResponse(self.sock)
        response.begin()
        hasher, length, beginning = hashlib.sha256(), 0, b""
        while piece := response.read(1 << 18):
            hasher.update(piece)
            length += len(piece)
            beginning = beginning or piece[:4096]
        response.close()
        if rest := self.sock.recv(4096):
            raise LabError(f"after the answer came {rest!r}")
        return Answer(response.status, length, hasher.hexdigest(), beginning)


class Answer:
    def __init__(self, status, length, sha256, beginning):
        self.status, self.length, self.sha256 = status, length, sha256
        self.beginning = beginning

    def json(self):
        return json.loads(self.beginning)

    def __repr__(self):
        return f"<{self.status} {self.length} bytes {self.beginning[:300]!r}>"


class PeerLab:
    """One gateway of some MTU, kernel peers on both sides, their sysctls and links to be set."""

    def __init__(self, folder, workers, mtu=1500, wired=False):
        suffix = f"-{'w' if wired else 'p'}{mtu}"
        self.folder = pathlib.Path(folder) / f"peers{suffix}"
        self.network = net.Network(mtu=mtu, suffix=suffix, wires=Wires(suffix) if wired else None)
        certificate = Authority(self.folder / "tls").leaf("tools", "*.tools.example")
        self.gateway = Gateway(self.network, self.folder / "gateway", certificate, workers=workers)
        self.wires = self.network.wires.wires if wired else {}
        self.sides = {"agents": self.network.agents, "tools": self.network.tools}
        self.links = {name: BadLink(side, self.folder) for name, side in self.sides.items()}
        self.macs = {name: link_address(side) for name, side in self.sides.items()}
        self.tool = PeerTool(self.network, self.folder)
        self._token, self._token_until = "", 0.0
        self._serial = 0
        self.start()

    def start(self):
        self.gateway.start()
        documents = [agent_class(allow=["peer", "peer6", "tiny"]), peer_service(),
                     peer_service("tiny", TINY_HOST, port=TINY_PORT)]
        if self.network.ipv6:
            documents.append(peer_service("peer6", f"six.{HOST}", family=6))
        self.gateway.apply(*documents)
        self._token_until = 0.0

    @property
    def token(self):
        if time.monotonic() > self._token_until:
            self._token = self.gateway.task("research", ttl_s=900)["token"]
            self._token_until = time.monotonic() + 600
        return self._token

    def stop(self):
        code = self.gateway.stop()
        self.tool.stop()
        for link in self.links.values():
            link.close()
        self.network.remove()
        output = self.gateway.process.output()
        if code != 0 or SANITIZER.search(output):
            raise LabError(f"sluiced ended with {code}:\n{self.gateway.process.tail(60)}")

    @contextlib.contextmanager
    def lent(self):
        """To one test, with clean links; afterwards the gateway must be as it was."""
        if not self.gateway.process.alive():  # said so already; each test stands on its own feet
            self.start()
        self.configure()
        self.impair()
        for wire in self.wires.values():
            wire.set()
        yield self
        process = self.gateway.process
        if not process.alive() or SANITIZER.search(process.output()):
            raise LabError(f"the gateway ended or reported an error:\n{process.tail(60)}")
        for wire in self.wires.values():
            wire.set()
        self.gateway.settled(12)

    def configure(self, **features):
        """TCP features of both peers, for connections to come. Of the congestion controls only Reno
        is there on every host and may be chosen in every namespace."""
        wanted = {f"net__ipv4__tcp_{name}": int(features.get(name, name != "ecn"))
                  for name in FEATURES}
        for side in self.sides.values():
            side.sysctl(**wanted, net__ipv4__tcp_no_metrics_save=1,
                        net__ipv4__tcp_congestion_control="reno")

    @contextlib.contextmanager
    def sysctls(self, *sides, **settings):
        """Other values within the block; keys as in Namespace.sysctl()."""
        names = [name.replace("__", ".") for name in settings]
        before = {side: self.sides[side].run("sysctl", "-n", *names).stdout.splitlines()
                  for side in sides}
        try:
            for side in sides:
                self.sides[side].sysctl(**settings)
            yield
        finally:
            for side in sides:
                self.sides[side].sysctl(**dict(zip(settings, before[side])))

    def impair(self, **settings):
        """What both links do from now on; without settings they are clean.

        On a bad link the peers make single segments: larger ones the kernel would cut only after
        the dropper has seen them.
        """
        self.suspicious(bool(settings))
        for name, link in self.links.items():
            link.set(**settings)
            self.sides[name].ip("link", "set", "dev", "eth0", "gso_max_segs",
                                1 if settings else 65535)

    def suspicious(self, on):
        """Whether the peers may repeat on suspicion, as the kernel does by itself. On a clean path,
        where a repetition is somebody's mistake, they must not: tail loss probes fire when a busy
        machine takes milliseconds for an answer, and frames that two CPUs sent for one connection
        pass each other on a veth pair."""
        for side in self.sides.values():
            side.sysctl(net__ipv4__tcp_early_retrans=3 if on else 0,
                        net__ipv4__tcp_recovery=1 if on else 0,
                        net__ipv4__tcp_reordering=3 if on else 300)

    # -- transfers; each uses one connection on either side, of the same address family

    def transfer(self, family=4, host=None, **options):
        host = host or (HOST if family == 4 else f"six.{HOST}")
        return Transfer(self.network, self.token, family=family, host=host, **options)

    def download(self, length, family=4, path="body", **options):
        with self.transfer(family, **options) as call:
            call.ask("GET", f"/{path}/{length}")
            return call.answer()

    def upload(self, length, family=4, path="digest", pause_at=None, go_on=None, **options):
        with self.transfer(family, **options) as call:
            call.ask("PUT", f"/{path}", length)
            call.send_body(length, pause_at, go_on)
            return call.answer()

    def curl(self, path, output, *options):
        """An agent in a process of its own, to be stopped and killed."""
        resolve = f"{HOST}:80:{net.GATEWAY_AGENTS[0]}"
        return self.network.agents.start(
            "curl", "-sS", "--http1.1", "--noproxy", "*", "--resolve", resolve, "-H",
            f"Txn-Token: {self.token}", "-o", output, *options, f"http://{HOST}{path}",
            log=self.folder / "curl.log")

    # -- captures

    def capture(self):
        self._serial += 1
        return {name: Capture(side, self.folder / f"{name}-{self._serial}.pcap")
                for name, side in self.sides.items()}

    def judge(self, captures):
        """tshark's verdicts by side; the captures are gone afterwards."""
        verdicts = {}
        try:
            for name, capture in captures.items():
                verdicts[name] = Verdict(capture.stop(), self.macs[name], (80, PORT))
        finally:
            for capture in captures.values():
                capture.discard()
        return verdicts
