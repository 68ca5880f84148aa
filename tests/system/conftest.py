"""One lab for the session; every test ends with all buffers back and no connection left."""

import os
import pathlib
import time

import pytest

from lab import network as net
from lab.certificates import Authority
from lab.clients import Agent, connect, raw
from lab.documents import agent_class, service
from lab.gateway import SANITIZER, Gateway
from lab.peers import PeerLab
from lab.servers import Nginx, ScriptedTool
from lab.tokens import Issuer

CPUS = os.cpu_count() or 1
# Cores of the shared gateway's workers: SLUICE_WORKERS=0,1 for two.
WORKERS = tuple(int(c) for c in os.environ.get("SLUICE_WORKERS", str(CPUS - 1)).split(","))
TOOL_HOST = "tool.tools.example"


def pytest_collection_modifyitems(config, items):
    """What takes minutes or hours runs when it is asked for: by -m, or by the test's own name."""
    if any("::" in word for word in config.args):
        return
    asked = config.option.markexpr
    left = [item for item in items
            if (item.get_closest_marker("long") and "long" not in asked)
            or (item.get_closest_marker("peer") and "peer" not in asked and "long" not in asked)]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


class Lab:
    """What most tests need, started once."""

    def __init__(self, folder):
        self.folder = folder
        self.network = net.Network()
        self.authority = Authority(folder / "tls")
        self.certificate = self.authority.leaf("tools", "*.tools.example")
        self.issuer = Issuer(folder / "issuer")
        self.nginx = Nginx(self.network, folder / "nginx").start()
        self.tool = ScriptedTool(self.network, folder / "tool").start()
        self.gateway = Gateway(self.network, folder / "gateway", self.certificate,
                               workers=WORKERS)
        self.agent = Agent(self.network, self.authority.ca, folder)
        self._token, self._token_until = None, 0.0

    def documents(self):
        return [self.issuer.document(), service(), self.tool_service(),
                agent_class("research", ["kb", "tool"]), agent_class("mail-only", ["mail"]),
                agent_class("elsewhere", ["kb"], sources=["203.0.113.0/24"])]

    @staticmethod
    def tool_service(**spec):
        settings = {"timeouts": {"connect_ms": 700, "first_byte_ms": 1500, "step_ms": 3000,
                                 "idle_ms": 4000}}
        settings.update(spec)
        return service("tool", TOOL_HOST, port=8081, **settings)

    def start(self):
        self.gateway.start()
        self.gateway.apply(*self.documents())
        self._token = None

    @property
    def token(self):
        if self._token is None or time.monotonic() > self._token_until:
            self._token = self.gateway.task("research", ttl_s=900)["token"]
            self._token_until = time.monotonic() + 600
        return self._token

    def get(self, path, **options):
        """As an agent with a good token, to nginx."""
        options.setdefault("token", self.token)
        return self.agent.curl(path, **options)

    def call(self, path, **options):
        """As an agent with a good token, to the scripted tool."""
        return self.get(path, host=TOOL_HOST, **options)

    def connect(self, **options):
        return connect(self.network, ca=self.authority.ca, **options)

    def raw(self, data, **options):
        return raw(self.network, data, self.authority.ca, **options)

    def request(self, path="/echo", method="GET", host=TOOL_HOST, fields="", token=None):
        """A HTTP/1.1 header section with a good token."""
        return (f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nTxn-Token: {token or self.token}\r\n"
                f"{fields}\r\n").encode()


@pytest.fixture(scope="session")
def folder():
    return pathlib.Path(os.environ["SLUICE_LAB"])


@pytest.fixture(scope="session")
def shared_lab(folder):
    made = Lab(folder)
    made.start()
    yield made
    code = made.gateway.stop()
    made.nginx.stop()
    made.tool.stop()
    assert code == 0, made.gateway.process.tail(60)
    assert not SANITIZER.search(made.gateway.process.output()), made.gateway.process.tail(60)


@pytest.fixture
def lab(shared_lab):
    """The lab; afterwards the gateway must be as it was."""
    yield shared_lab
    gateway = shared_lab.gateway
    alive = gateway.process.alive()
    report = SANITIZER.search(gateway.process.output())
    if not alive or report:
        tail = gateway.process.tail(60)
        gateway.kill()
        gateway.log.unlink()
        shared_lab.start()  # so that the next test stands on its own feet
        pytest.fail(f"the gateway {'reported an error' if alive else 'ended'}:\n{tail}")
    gateway.settled(12)


@pytest.fixture
def own_gateway(folder):
    """Makes gateways of other shapes in networks of their own; all are stopped at the end."""
    made = []

    def make(name, start=True, network=None, **options):
        network = network or net.Network(suffix=f"-{name}", mtu=options.pop("mtu", 1500),
                                         tools_vlan=options.pop("tools_vlan", 0))
        place = folder / name
        authority = Authority(place / "tls")
        certificate = options.pop("certificate", None) or authority.leaf("tools",
                                                                         "*.tools.example")
        options.setdefault("workers", (CPUS - 1,))
        options.setdefault("duplicate_probes", 0)  # saves a second of each start
        gateway = Gateway(network, place / "gateway", certificate, **options)
        gateway.authority = authority
        gateway.agent = Agent(network, authority.ca, place)
        made.append(gateway)
        return gateway.start() if start else gateway

    yield make
    for gateway in made:
        alive = gateway.process is not None and gateway.process.alive()
        code = gateway.stop()
        gateway.network.remove()
        if alive:
            assert code == 0, gateway.process.tail(60)
        if gateway.process is not None:
            assert not SANITIZER.search(gateway.process.output()), gateway.process.tail(60)


@pytest.fixture(scope="module")
def peer_lab(request, folder):
    """The parameter is the MTU."""
    lab = PeerLab(folder, WORKERS, mtu=getattr(request, "param", 1500))
    yield lab
    lab.stop()


@pytest.fixture
def peers(peer_lab):
    with peer_lab.lent():
        yield peer_lab


@pytest.fixture(scope="module")
def wired_lab(folder):
    lab = PeerLab(folder, WORKERS, wired=True)
    yield lab
    lab.stop()


@pytest.fixture
def wired(wired_lab):
    """The same with a wire (tests/wire) on either side of the gateway."""
    with wired_lab.lent():
        wired_lab.suspicious(True)
        yield wired_lab
