"""Agents: curl, h2load and plain sockets in the agents' namespace."""

import ctypes
import json
import os
import re
import socket
import ssl
import statistics
import threading

from . import network as net
from .documents import HOST
from .process import LabError, run

CURL_FACTS = ("http_code", "http_version", "time_total", "time_connect", "time_appconnect",
              "time_starttransfer", "size_download", "size_upload", "exitcode", "num_connects",
              "local_ip", "local_port")
_setns = ctypes.CDLL(None, use_errno=True).setns


class Reply:
    """What one HTTP call brought back; headers by lower-case name, repeated ones joined."""

    def __init__(self, status, headers, body, facts=None, error="", raw=""):
        self.status, self.headers, self.body = status, headers, body
        self.facts, self.error, self.raw = facts or {}, error, raw

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:300]!r} {self.error}>"


def parse_head(text):
    """(status, headers) of the last header section."""
    sections = [s for s in re.split(r"\r?\n\r?\n", text) if s.startswith("HTTP/")]
    final = [s for s in sections if not re.match(r"HTTP/\S+ 1\d\d", s)]
    if not final:
        return 0, {}
    lines = final[0].splitlines()
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        name = name.strip().lower()
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return int(lines[0].split()[1]), headers


class Agent:
    """Calls through the gateway from the agents' namespace."""

    def __init__(self, network, ca, folder):
        self.network, self.ca, self.folder = network, ca, folder
        self._serial = 0

    def resolve(self, host, port, family=4):
        address = net.GATEWAY_AGENTS[0] if family == 4 else f"[{net.GATEWAY_AGENTS[1]}]"
        return f"{host}:{port}:{address}"

    def curl_command(self, path, token=None, http="2", family=4, host=HOST, scheme="https",
                     extra=(), header="Txn-Token"):
        """The curl command as one would type it in the namespace."""
        port = 443 if scheme == "https" else 80
        command = ["curl", "-sS", f"--http{http}", "--noproxy", "*", "--resolve",
                   self.resolve(host, port, family), "--cacert", self.ca]
        if token:
            value = f"Bearer {token}" if header.lower() == "authorization" else token
            command += ["-H", f"{header}: {value}"]
        return [*map(str, command), *map(str, extra), f"{scheme}://{host}{path}"]

    def curl(self, path, timeout=30, body_to=None, **options):
        """One call; body_to: a path for the body instead of memory."""
        self._serial += 1
        stem = self.folder / f"curl-{self._serial}"
        extra = ["-D", f"{stem}.head", "-o", body_to or f"{stem}.body", "-m", timeout,
                 "-w", "%{json}", *options.pop("extra", ())]
        command = self.curl_command(path, extra=extra, **options)
        result = self.network.agents.run(*command, check=False, timeout=timeout + 10)
        head_file, body_file = (stem.with_name(stem.name + s) for s in (".head", ".body"))
        head = head_file.read_text(errors="replace") if head_file.exists() else ""
        body = body_file.read_bytes() if body_file.exists() else b""
        for file in (head_file, body_file):
            file.unlink(missing_ok=True)
        facts = {}
        if result.stdout.strip():
            everything = json.loads(result.stdout)
            facts = {k: everything.get(k) for k in CURL_FACTS}
        facts["exit"] = result.returncode
        status, headers = parse_head(head)
        return Reply(status, headers, body, facts, result.stderr.strip(), head)

    def h2load(self, path, token, seconds=None, requests=None, clients=8, streams=10, threads=1,
               host=HOST, http="2", cpus=None, warm_up=0, family=4, at_end=None):
        """{requests_per_second, p50_us, p99_us, succeeded, failed, …} of one run; `at_end` is called
        when h2load ended, before its log is read."""
        log = self.folder / "h2load.log"
        log.unlink(missing_ok=True)
        address = net.GATEWAY_AGENTS[0] if family == 4 else f"[{net.GATEWAY_AGENTS[1]}]"
        command = ["h2load", "-c", clients, "-m", streams, "-t", threads,
                   f"--connect-to={address}:443", f"--log-file={log}"]
        if http == "1.1":
            command.append("--h1")
        if token:
            command += ["-H", f"txn-token: {token}"]
        command += ["-D", seconds, f"--warm-up-time={warm_up}"] if seconds else ["-n", requests]
        if cpus:
            command = ["taskset", "-c", ",".join(map(str, cpus)), *command]
        result = self.network.agents.run(*command, f"https://{host}{path}", check=False,
                                         timeout=(seconds or 60) + warm_up + 60)
        if at_end:
            at_end()
        text = result.stdout
        totals = re.search(r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, "
                           r"(\d+) failed, (\d+) errored, (\d+) timeout", text)
        speed = re.search(r"finished in ([\d.]+)(us|ms|s|m), ([\d.]+) req/s", text)
        if not totals or not speed:
            raise LabError(f"h2load: {text}{result.stderr}")
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        rows = [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []
        times = sorted(int(row[2]) for row in rows if len(row) >= 3)
        log.unlink(missing_ok=True)
        return {"requests_per_second": float(speed.group(3)), "done": int(totals.group(3)),
                "succeeded": int(totals.group(4)), "failed": int(totals.group(5)),
                "errored": int(totals.group(6)), "timeout": int(totals.group(7)),
                "codes": tuple(map(int, codes.groups())) if codes else (),
                "p50_us": times[len(times) // 2] if times else 0,
                "p99_us": times[min(len(times) - 1, len(times) * 99 // 100)] if times else 0,
                "mean_us": statistics.fmean(times) if times else 0, "text": text}


class inside:  # pylint: disable=invalid-name
    """With this block, sockets of the calling thread are made in the namespace."""

    def __init__(self, namespace):
        self.namespace = namespace

    def _enter(self, path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if _setns(descriptor, 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), f"setns {path}")
        finally:
            os.close(descriptor)

    def __enter__(self):
        self.home = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        self.descriptor = os.open(self.home, os.O_RDONLY)
        self._enter(f"/run/netns/{self.namespace.name}")
        return self

    def __exit__(self, *_):
        if _setns(self.descriptor, 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns home")
        os.close(self.descriptor)


def connect(network, port=443, tls=True, ca=None, host=HOST, alpn=("http/1.1",), family=4,
            timeout=15, receive_buffer=None):
    """A plain or TLS 1.3 socket from the agents' namespace to the gateway."""
    with inside(network.agents):
        sock = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
    sock.settimeout(timeout)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect((net.GATEWAY_AGENTS[0 if family == 4 else 1], port))
    if not tls:
        return sock
    context = ssl.create_default_context(cafile=str(ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context.wrap_socket(sock, server_hostname=host)


def read_answer(sock):
    """One HTTP/1.1 answer with a Content-Length from a connection that stays."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += some(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    status, headers = parse_head(head.decode("latin-1") + "\r\n\r\n")
    while len(body) < int(headers["content-length"]):
        body += some(sock)
    return Reply(status, headers, body)


def some(sock):
    piece = sock.recv(65536)
    if not piece:
        raise LabError("the connection ended in an answer")
    return piece


def read_all(sock, limit=1 << 24):
    """Everything until the end of the connection; (bytes, how it ended: "fin" or "reset")."""
    data = b""
    while len(data) < limit:
        try:
            piece = sock.recv(65536)
        except (ConnectionResetError, ssl.SSLError, BrokenPipeError):
            return data, "reset"
        if not piece:
            return data, "fin"
        data += piece
    return data, "limit"


def raw(network, data, ca, wait=True, **options):
    """Sends bytes as they are and returns what came back until the end of the connection."""
    with connect(network, ca=ca, **options) as sock:
        sock.sendall(data)
        return read_all(sock) if wait else (b"", "")


__all__ = ["Agent", "Reply", "connect", "inside", "parse_head", "raw", "read_all", "run"]
