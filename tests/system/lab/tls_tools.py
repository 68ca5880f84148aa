"""nginx as a tool that speaks TLS, one port per kind of server."""

import pathlib

from .certificates import Authority
from .process import Process
from .servers import listening

GOOD, STRANGER, DEMANDING, EXPIRED, OLD = 8443, 8444, 8445, 8446, 8447
NAME = "kb.backend.example"

HEAD = """
daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  default_type text/plain;
  keepalive_timeout 300s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
"""

SERVER = """
  server {{
    listen 0.0.0.0:{port} ssl;
    listen [::]:{port} ssl;
    ssl_certificate {chain};
    ssl_certificate_key {key};
    ssl_protocols {protocols};
    {more}
    location / {{
      return 200 "protocol=$ssl_protocol sni=$ssl_server_name reused=$ssl_session_reused client=$ssl_client_s_dn connection=$connection\\n";
    }}
  }}
"""


class TlsTools:
    """The authority of the tools (not the agents'), another nobody trusts, and the servers."""

    def __init__(self, network, folder):
        self.network = network
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.authority = Authority(self.folder / "ca")
        self.stranger = Authority(self.folder / "stranger")
        self.client = self.authority.leaf("client", "gateway.sluice.example", usage="clientAuth")
        self.process = None
        good = self.authority.leaf("good", NAME)
        servers = [
            (GOOD, good, "TLSv1.2 TLSv1.3", ""),
            (STRANGER, self.stranger.leaf("good", NAME), "TLSv1.2 TLSv1.3", ""),
            (DEMANDING, good, "TLSv1.3",
             f"ssl_client_certificate {self.authority.ca}; ssl_verify_client on;"),
            (EXPIRED, self.authority.leaf("expired", NAME, days=-1), "TLSv1.2 TLSv1.3", ""),
            (OLD, good, "TLSv1.2", ""),
        ]
        text = HEAD.format(folder=self.folder)
        for port, (chain, key), protocols, more in servers:
            text += SERVER.format(port=port, chain=chain, key=key, protocols=protocols, more=more)
        (self.folder / "nginx.conf").write_text(text + "}\n")

    def start(self):
        self.process = Process(self.network.tools.command(
            "nginx", "-e", self.folder / "error.log", "-p", self.folder, "-c",
            self.folder / "nginx.conf"), self.folder / "nginx.log")
        self.process.until(lambda: listening(self.network.tools, OLD), 10, "nginx with TLS listens")
        return self

    def stop(self):
        if self.process:
            self.process.stop()
            self.process = None
