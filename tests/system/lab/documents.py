"""Resource documents the lab applies."""

from . import network as net

HOST = "kb.tools.example"


def service(name="kb", host=HOST, port=8080, address=net.TOOL[0], **spec):
    body = {"protocol": "http", "hosts": [host], "path": "/",
            "endpoints": [{"host": address, "port": port}], "http": "h1"}
    body.update(spec)
    return {"kind": "service", "name": name, "spec": body}


def agent_class(name="research", allow=("kb",), **spec):
    body = {"mode": "enforce", "sources": [f"{net.AGENTS4}.0/24", f"{net.AGENTS6}/64"],
            "allow": list(allow)}
    body.update(spec)
    return {"kind": "agent-class", "name": name, "spec": body}
