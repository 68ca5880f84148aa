"""sluiced under control: boot file, start, readiness, REST, stop."""

import http.client
import json
import os
import pathlib
import re
import signal
import socket
import time

from . import network as net
from .process import LabError, Process, cpu_seconds, run, until

# The last one is the gateway's own report of packet buffers at its end.
SANITIZER = re.compile(r"(ERROR: (Address|Thread|Leak)Sanitizer|runtime error:|panic|assertion|"
                       r"not given back)", re.IGNORECASE)
ROOT = pathlib.Path(__file__).resolve().parents[3]


def build_file(path):
    """A program of the build under test: SLUICE_BUILD names the build type (release)."""
    kind = os.environ.get("SLUICE_BUILD", "release")
    file = ROOT / "build" / kind / path
    if not file.exists():
        raise LabError(f"{file} is not built: tools/build {kind} {file.name}")
    return file


def binary(name):
    return build_file(pathlib.Path("controlplane", name))


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:400]!r}"


class Counted:
    """How much the gateway's counters rise within the block."""

    def __init__(self, gateway, *names):
        self.gateway, self.names, self.rise = gateway, names, {}

    def _read(self):
        rows = self.gateway.stats()["counters"]
        return {name: rows[name]["value"] for name in self.names}

    def __enter__(self):
        self._before = self._read()
        return self

    def now(self, name):
        return self.gateway.counter(name) - self._before[name]

    def __exit__(self, *_):
        self.rise = {name: value - self._before[name] for name, value in self._read().items()}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Gateway:
    """One sluiced between the two networks of a Network."""

    def __init__(self, network, folder, certificate, workers=(1,), listeners=None, conf_d=None,
                 agents_extra="", tools_extra="", packet_buffers=16384, cpus=None,
                 more_certificates=None, dns="", hugepages="never", more_ports=(),
                 duplicate_probes=None):
        self.network = network
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket = self.folder / "control.sock"
        self.state = self.folder / "state"
        self.config = self.folder / "sluice.yaml"
        self.log = self.folder / "sluiced.log"
        self.cpus = cpus
        self.process = None
        self.base = None
        mtu = network.mtu
        vlan = f", vlan: {network.tools_vlan}" if network.tools_vlan else ""
        agents, tools = (
            f'[{four}/24, "{six}/64"]' if network.ipv6 else f"[{four}/24]"
            for four, six in (net.GATEWAY_AGENTS, net.GATEWAY_TOOLS))
        if duplicate_probes is not None:
            agents_extra += f", duplicate_probes: {duplicate_probes}"
            tools_extra += f", duplicate_probes: {duplicate_probes}"
        chain, key = certificate
        listeners = listeners or [("tools-https", 443, "https"), ("tools-http", 80, "http")]
        lines = [f"workers: [{', '.join(map(str, workers))}]",
                 f"memory: {{hugepages: {hugepages}, packet_buffers: {packet_buffers}}}",
                 "ports:",
                 f'  agents: {{device: "{net.Network.device("sl-agents")}", '
                 f"addresses: {agents}, mtu: {mtu}{agents_extra}}}",
                 f'  tools: {{device: "{net.Network.device("sl-tools")}", '
                 f"addresses: {tools}, mtu: {mtu}{vlan}{tools_extra}}}",
                 *(f"  {port}" for port in more_ports),
                 "listeners:"]
        for name, port, protocol in listeners:
            certificate_field = ", certificate: default" if protocol == "https" else ""
            lines.append(f"  - {{name: {name}, port: agents, listen: {port}, "
                         f"protocol: {protocol}{certificate_field}}}")
        certificates = {"default": (chain, key), **(more_certificates or {})}
        lines.append("certificates:")
        for name, (chain, key) in certificates.items():
            lines.append(f"  {name}: {{chain: {chain}, key: {key}}}")
        if dns:
            lines.append(f"dns: {dns}")
        lines += [f"control: {{socket: {self.socket}, state: {self.state}}}"]
        self.config.write_text("\n".join(lines) + "\n")
        if conf_d:
            (self.folder / "conf.d").mkdir(exist_ok=True)
            for name, text in conf_d.items():
                (self.folder / "conf.d" / name).write_text(text)

    # -- life

    def start(self, ready_within=30):
        command = self.network.gateway.command(binary("sluiced"), "--config", self.config)
        self.process = Process(command, self.log, cpus=self.cpus)
        self.wait_ready(ready_within)
        self.base = self.leftovers()
        return self

    def wait_ready(self, deadline=30):
        def ready():
            if not self.process.alive():
                raise LabError(f"sluiced ended with {self.process.popen.returncode}\n"
                               f"{self.process.tail(40)}")
            try:
                return self.rest("GET", "/v1/readyz", timeout=2).status == 200
            except (OSError, http.client.HTTPException):
                return False

        try:
            until(ready, deadline, "sluiced ready", step=0.02)
        except LabError as error:
            raise LabError(f"{error}\n{self.process.tail(40)}") from error

    def stop(self, timeout=15):
        """SIGTERM; the exit code."""
        return self.process.stop(timeout) if self.process else None

    def kill(self):
        if self.process:
            self.process.kill()

    def restart(self):
        self.start()

    def pause(self):
        self.process.signal(signal.SIGSTOP)

    # -- talking to it

    def rest(self, method, path, body=None, headers=None, timeout=10):
        connection = _UnixConnection(self.socket, timeout)
        try:
            payload = None
            headers = dict(headers or {})
            if body is not None:
                payload = body if isinstance(body, (bytes, str)) else json.dumps(body)
                headers.setdefault("Content-Type", "application/json")
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def ok(self, method, path, body=None, expect=(200, 201, 204)):
        answer = self.rest(method, path, body)
        if answer.status not in expect:
            raise LabError(f"{method} {path}: {answer}")
        return answer.json() if answer.body else None

    def apply(self, *documents):
        """POST /v1/apply: returns once every worker uses them."""
        return self.ok("POST", "/v1/apply", list(documents))

    def task(self, agent_class, **fields):
        """Mints a task token: {txn, token, expires_at, trace_id}."""
        body = {"agent_class": agent_class, "subject": "agent-1", "ttl_s": 300, **fields}
        return self.ok("POST", "/v1/tasks", body, expect=(201,))

    def ctl_command(self):
        return [str(binary("sluicectl")), "--socket", str(self.socket)]

    def ctl(self, *arguments, check=True):
        return run(*self.ctl_command(), *arguments, check=check)

    # -- what it says of itself

    def stats(self):
        return self.ok("GET", "/v1/stats")

    def counter(self, name):
        """One counter, by its id in counters.def, summed over workers."""
        return self.stats()["counters"][name]["value"]

    def counted(self, *names):
        return Counted(self, *names)

    def leftovers(self):
        """What must be back to its base once nobody calls: buffers in use and connections."""
        info, stats = self.ok("GET", "/v1/info"), self.stats()
        return {"buffers": info["memory"]["packet_buffers_in_use"],
                "connections": sum(w["connections"] for w in stats["workers"])}

    def busy_cycles(self):
        """(busy, total) TSC cycles of all workers since start."""
        rows = self.stats()["workers"]
        return sum(w["busy_cycles"] for w in rows), sum(w["total_cycles"] for w in rows)

    def calls(self, **query):
        """Records of finished calls, newest first."""
        text = "&".join(f"{k}={v}" for k, v in query.items())
        return self.ok("GET", f"/v1/calls?{text}" if text else "/v1/calls")["items"]

    def settled(self, deadline=10):
        """Waits until all buffers are back and no connection is left."""
        def back():
            return self.leftovers() == self.base

        try:
            until(back, deadline, "packet buffers and connections back", step=0.05)
        except LabError as error:
            raise LabError(f"{error}: {self.leftovers()}, at start {self.base}") from error

    def cpu_share(self, seconds):
        """Share of one core used over the next seconds."""
        before, began = cpu_seconds(self.process.pid), time.monotonic()
        end = began + seconds
        while time.monotonic() < end:  # measuring time is the point here
            time.sleep(0.05)
        return (cpu_seconds(self.process.pid) - before) / (time.monotonic() - began)
