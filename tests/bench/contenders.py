"""Three gateways for one job: TLS 1.3 and HTTP/2 in, pooled HTTP/1.1 out to the same tool.

Each is set as its documentation recommends for speed: one worker on the gateway's core, HTTP/2,
the same ECDSA P-256 certificate and cipher, upstream connections kept and reused, no access log.
nginx and HAProxy run on the kernel's sockets, over veth pairs with all their offloads.
"""

import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from lab import network as net  # noqa: E402
from lab.clients import Agent  # noqa: E402
from lab.documents import HOST, agent_class, service  # noqa: E402
from lab.gateway import Gateway  # noqa: E402
from lab.process import LabError, Process, until  # noqa: E402
from lab.servers import Nginx, listening  # noqa: E402

PACKET_BUFFER = 2304  # bytes of one packet buffer with its header, for the standard MTU

NGINX = """
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/gateway.pid;
error_log {folder}/gateway-error.log warn;
events {{ worker_connections 8192; use epoll; multi_accept on; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  http2_max_concurrent_streams 256;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream tool {{
    server {tool}:8080;
    keepalive 512;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
  }}
  server {{
    listen {address}:443 ssl http2 backlog=4096;
    ssl_certificate {chain};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_ecdh_curve X25519:prime256v1;
    ssl_session_cache shared:tls:8m;
    location / {{
      proxy_pass http://tool;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 8192
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-bind-curves X25519:P-256
  tune.h2.max-concurrent-streams 256
  tune.pool-low-fd-ratio 80
  tune.pool-high-fd-ratio 90
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  option http-keep-alive
  http-reuse always
frontend agents
  bind {address}:443 ssl crt {bundle} alpn h2,http/1.1
  default_backend tool
backend tool
  server tool {tool}:8080 pool-max-conn -1 pool-purge-delay 600s
"""


def on_cpu_ns(folder):
    """Nanoseconds on a CPU of one process' first thread, or of a thread: /proc/…/schedstat."""
    return int((folder / "schedstat").read_text().split()[0])


def processes(pid):
    """A process and its children."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(pid)] + [p for child in children for p in processes(child)]


def thread_folders(pid):
    return [t for p in processes(pid) for t in pathlib.Path(f"/proc/{p}/task").iterdir()]


def process_memory(pid):
    """Bytes the process and its children hold, pages they share counted once."""
    total = 0
    for process in processes(pid):
        for line in pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def receive_on(namespace, device, cpus):
    """Packets that come out of the device are received on these cores, whoever sent them."""
    mask = f"{sum(1 << c for c in cpus):x}"
    namespace.run("sh", "-c", f"echo {mask} >/sys/class/net/{device}/queues/rx-0/rps_cpus")


class Contender:
    """A gateway in its own three namespaces, with the same tool behind it.

    A veth pair delivers on the sender's core: the gateway's core runs the receiving half of its
    peers' TCP, and the peers' core that of the gateway. `own_receive` has each side receive on its
    own cores, as with network cards, at the price of interrupts between cores.
    """

    kernel = True
    token = None

    def __init__(self, folder, authority, certificate, core, others, own_receive=False):
        self.folder = folder / self.name
        self.folder.mkdir()
        self.certificate, self.core, self.others = certificate, core, others
        self.ca = authority.ca
        self.network = net.Network(suffix=f"-{self.name}", kernel_gateway=self.kernel)
        if own_receive:
            for namespace in (self.network.agents, self.network.tools):
                receive_on(namespace, "eth0", others)
            for device in ("sl-agents", "sl-tools"):
                receive_on(self.network.gateway, device, {core})
        self.tool = Nginx(self.network, self.folder / "tool", cpus=others)
        self.agent = Agent(self.network, authority.ca, self.folder)
        self.process = None

    def start(self):
        self.tool.start()
        self.process = Process(self.network.gateway.command(*self.command()),
                               self.folder / "gateway.log", cpus={self.core})
        def ready():
            if not self.process.alive():
                raise LabError(f"{self.name} ended\n{self.process.tail()}")
            return listening(self.network.gateway, 443)
        until(ready, 10, f"{self.name} listens")

    def renew(self):
        """Before each run."""

    def used(self):
        """CPU seconds so far: "core" is the figure that is reported, the rest goes beside it."""
        return {"core": sum(map(on_cpu_ns, thread_folders(self.process.pid))) / 1e9}

    def memory(self):
        return process_memory(self.process.pid)

    def stop(self):
        self.process.stop()
        self.tool.stop()
        self.network.remove()


class NginxGateway(Contender):
    name = "nginx"

    def command(self):
        chain, key = self.certificate
        config = self.folder / "gateway.conf"
        config.write_text(NGINX.format(folder=self.folder, address=net.GATEWAY_AGENTS[0],
                                       tool=net.TOOL[0], chain=chain, key=key))
        return ["nginx", "-e", self.folder / "gateway-error.log", "-p", self.folder, "-c", config]


class HaproxyGateway(Contender):
    name = "haproxy"

    def command(self):
        bundle = self.folder / "bundle.pem"
        bundle.write_text("".join(pathlib.Path(p).read_text() for p in self.certificate))
        config = self.folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(address=net.GATEWAY_AGENTS[0], tool=net.TOOL[0],
                                         bundle=bundle))
        return ["haproxy", "-db", "-f", config]


class SluiceGateway(Contender):
    """Also checks who calls: every call carries a task token and passes the policy stages."""

    name = "sluice"
    kernel = False

    def start(self):
        self.tool.start()
        # The worker pins itself to its core, the control thread takes what is left.
        self.gateway = Gateway(self.network, self.folder / "gateway", self.certificate,
                               workers=(self.core,), cpus=range(os.cpu_count()))
        self.gateway.start()
        self.process = self.gateway.process
        self.gateway.apply(service(host=HOST), agent_class("research", ["kb"]))
        self.worker = [t for t in thread_folders(self.process.pid) if self._pinned(t)]
        if len(self.worker) != 1:
            raise LabError(f"{len(self.worker)} threads pinned to core {self.core}")

    def _pinned(self, thread):
        for line in (thread / "status").read_text().splitlines():
            if line.startswith("Cpus_allowed_list:"):
                return line.split()[1] == str(self.core)
        return False

    def renew(self):
        self.token = self.gateway.task("research", ttl_s=900)["token"]

    def used(self):
        busy, total = self.gateway.busy_cycles()
        return {"busy_cycles": busy, "total_cycles": total, "clock": time.monotonic(),
                "thread": on_cpu_ns(self.worker[0]) / 1e9,
                "process": sum(map(on_cpu_ns, thread_folders(self.process.pid))) / 1e9}

    def memory(self):
        return process_memory(self.process.pid) + \
            self.gateway.leftovers()["buffers"] * PACKET_BUFFER


CONTENDERS = (NginxGateway, HaproxyGateway, SluiceGateway)
