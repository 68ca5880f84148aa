"""Tools: nginx, and a scripted server that misbehaves on request."""

import json
import pathlib

from .process import Process

HERE = pathlib.Path(__file__).resolve().parent

NGINX = """
daemon off;
user root;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  types {{ text/plain txt; application/octet-stream bin; }}
  default_type application/octet-stream;
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  keepalive_timeout 300s;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 0.0.0.0:{port} backlog=4096;
    listen [::]:{port} backlog=4096;
    root {folder}/www;
    location /up/ {{ dav_methods PUT DELETE; create_full_put_path on; }}
    location /small {{ return 200 "{small}"; }}
  }}
}}
"""


class Nginx:
    """nginx in the tools' namespace: /docs/… from files, /up/… takes PUT, /small is 100 bytes."""

    def __init__(self, network, folder, port=8080, workers=1, cpus=None):
        self.network, self.port, self.cpus = network, port, cpus
        self.folder = pathlib.Path(folder)
        self.www = self.folder / "www"
        (self.www / "docs").mkdir(parents=True, exist_ok=True)
        (self.www / "up").mkdir(exist_ok=True)
        self.process = None
        (self.folder / "nginx.conf").write_text(NGINX.format(
            folder=self.folder, port=port, workers=workers, small="x" * 99 + r"\n"))

    def file(self, path, data):
        target = self.www / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return data

    def start(self):
        self.process = Process(self.network.tools.command(
            "nginx", "-e", self.folder / "error.log", "-p", self.folder, "-c",
            self.folder / "nginx.conf"),
            self.folder / "nginx.log", cpus=self.cpus)
        self.process.until(lambda: listening(self.network.tools, self.port), 10, "nginx listens")
        return self

    def stop(self):
        if self.process:
            self.process.stop()
            self.process = None


class ScriptedTool:
    """lab/scripted_tool.py in the tools' namespace: the path says how it behaves."""

    def __init__(self, network, folder, port=8081):
        self.network, self.port = network, port
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.requests = self.folder / "requests.jsonl"
        self.process = None

    def start(self):
        self.process = Process(self.network.tools.command(
            "/usr/bin/python3", HERE / "scripted_tool.py", self.port, self.requests),
            self.folder / "tool.log")
        self.process.until(lambda: listening(self.network.tools, self.port), 10,
                           "scripted tool listens")
        return self

    def stop(self):
        if self.process:
            self.process.stop()
            self.process = None

    def kill(self):
        if self.process:
            self.process.kill()
            self.process = None


def listening(namespace, port):
    return namespace.run("ss", "-Hltn", f"sport = :{port}").stdout.strip() != ""


class DnsServer:
    """lab/dns_server.py on the management side: loopback of the gateway's namespace."""

    ADDRESS = "127.0.0.1"

    def __init__(self, network, folder):
        self.network = network
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.zone_file, self.log = self.folder / "zone.json", self.folder / "questions"
        self.process = None
        self.zone()

    def zone(self, **names):
        """What there is from now on; the file is replaced as a whole."""
        fresh = self.folder / "zone.new"
        fresh.write_text(json.dumps({k: v for k, v in names.items() if v is not None}))
        fresh.rename(self.zone_file)

    def questions(self, name=None, kind=None):
        lines = [line.split() for line in self.log.read_text().splitlines()] \
            if self.log.exists() else []
        return [q for q in lines if name in (None, q[0]) and kind in (None, q[1])]

    def start(self):
        self.process = Process(self.network.gateway.command(
            "/usr/bin/python3", HERE / "dns_server.py", self.ADDRESS, 53, self.zone_file, self.log),
            self.folder / "dns.log")
        self.process.until(lambda: self.network.gateway.run("ss", "-Hlun", "sport = :53").stdout.strip(),
                           10, "DNS server listens")
        return self

    def stop(self):
        if self.process:
            self.process.stop()
            self.process = None
