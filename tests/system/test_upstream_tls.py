"""TLS towards tools: what is accepted, what is refused and how it is said."""

import re
import shutil
import subprocess

import pytest

from lab import network as net
from lab import tls_tools as tools
from lab.documents import agent_class, service
from lab.problems import assert_refused
from lab.process import until
from lab.servers import Nginx
from lab.tls_tools import NAME, TlsTools

pytestmark = pytest.mark.asan
HOST = "secure.tools.example"


class Place:
    """A gateway, the TLS tools, and one service that each test points somewhere."""

    def __init__(self, folder, own_gateway, **options):
        self.network = net.Network(suffix="-tls")
        self.tools = TlsTools(self.network, folder / "tls-tools").start()
        self.ca = folder / "used-ca.pem"
        shutil.copy(self.tools.authority.ca, self.ca)
        self.gateway = own_gateway("tls", network=self.network,
                                   more_certificates={"client-a": self.tools.client}, **options)
        self.gateway.apply(agent_class("research", ["secure"]), self.document())
        self.token = self.gateway.task("research", ttl_s=900)["token"]

    def document(self, port=tools.GOOD, address=net.TOOL[0], **tls):
        settings = {"enabled": True, "ca": str(self.ca), "server_name": NAME, **tls}
        settings = {k: v for k, v in settings.items() if v is not None}
        return service("secure", HOST, port=port, address=address, tls=settings,
                       timeouts={"connect_ms": 1000, "tls_ms": 2000, "step_ms": 8000})

    def point(self, **options):
        return self.gateway.apply(self.document(**options))

    def get(self, path="/", **options):
        return self.gateway.agent.curl(path, token=self.token, host=HOST, **options)

    def facts(self, **options):
        reply = self.get(**options)
        assert reply.status == 200, reply
        return dict(re.findall(r"(\w+)=(.*?)(?= \w+=|\n|$)", reply.body.decode()))


@pytest.fixture(name="place")
def fixture_place(folder, own_gateway):
    made = Place(folder, own_gateway)
    yield made
    made.gateway.settled(12)
    made.tools.stop()


def test_good_server_and_shared_context(place):
    first = place.facts()
    assert first["protocol"] == "TLSv1.3" and first["sni"] == NAME
    assert place.facts()["connection"] == first["connection"], "pooled"
    # Another policy with the same settings keeps the connection and what is behind it.
    place.gateway.apply(agent_class("mail-only", ["mail"]))
    assert place.facts()["connection"] == first["connection"]
    for family in (4, 6):
        assert place.facts(http="2" if family == 4 else "1.1", family=family)["sni"] == NAME


def test_tls12_only(place):
    place.point(port=tools.OLD)
    facts = place.facts()
    assert facts["protocol"] == "TLSv1.2" and facts["sni"] == NAME


def test_over_ipv6_tool_address(place):
    place.point(address=net.TOOL[1])
    assert place.facts()["protocol"] == "TLSv1.3"


@pytest.mark.parametrize("port, options, why", [
    (tools.STRANGER, {}, "another authority"),
    (tools.GOOD, {"server_name": "other.backend.example"}, "another name"),
    (tools.EXPIRED, {}, "expired"),
    (tools.GOOD, {"ca": None}, "not one of the system's authorities"),
])
def test_untrusted_server(place, port, options, why):
    place.point(port=port, **options)
    for http in ("2", "1.1"):
        assert_refused(place.get(http=http), 502, "upstream_tls_failed")
    place.point()
    assert place.facts()["protocol"] == "TLSv1.3", why


def test_plain_server(place):
    plain = Nginx(place.network, place.tools.folder / "plain").start()
    place.point(port=8080)
    assert_refused(place.get(), 502, "upstream_tls_failed")
    plain.stop()


def test_client_certificate(place):
    place.point(port=tools.DEMANDING)
    reply = place.get()
    assert reply.status == 400 and b"No required SSL certificate" in reply.body
    place.point(port=tools.DEMANDING, certificate="client-a")
    assert place.facts()["client"] == "CN=gateway.sluice.example"


def test_system_authorities(folder, own_gateway):
    """Without `ca` the system's authorities count: here a bundle that holds the tools' own."""
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    made = TlsTools(net.Network(suffix="-roots"), folder / "tls-roots").start()
    mixed = folder / "bundle.pem"
    with open(mixed, "wb") as out:
        for part in (bundle, made.authority.ca):
            out.write(open(part, "rb").read())
    subprocess.run(["mount", "--bind", mixed, bundle], check=True)  # in the lab's mount namespace
    try:
        gateway = own_gateway("roots", network=made.network)
        gateway.apply(agent_class("research", ["secure"]),
                      service("secure", HOST, port=tools.GOOD,
                              tls={"enabled": True, "server_name": NAME}))
        token = gateway.task("research")["token"]
        assert gateway.agent.curl("/", token=token, host=HOST).status == 200
        gateway.settled(12)
    finally:
        subprocess.run(["umount", bundle], check=True)
        made.stop()


@pytest.mark.parametrize("tls, pointer, text", [
    ({"ca": "/nonexistent/ca.pem"}, "/spec/tls/ca", "No such file"),
    ({"ca": "/etc/hostname"}, "/spec/tls/ca", "expected a PEM file"),
    ({"ca": "/etc"}, "/spec/tls/ca", "not a regular file"),
    ({"certificate": "client-b"}, "/spec/tls/certificate", 'did you mean "client-a"'),
])
def test_unusable_files_are_refused(place, tls, pointer, text):
    before = place.gateway.ok("GET", "/v1/info")["policy_generation"]
    answer = place.gateway.rest("PUT", "/v1/services/secure", place.document(**tls))
    assert answer.status == 400, answer
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer and text in error["detail"]
    answer = place.gateway.rest("POST", "/v1/apply?dry_run=1", [place.document(**tls)])
    assert answer.status == 400 and answer.json()["errors"][0]["pointer"] == "/0" + pointer
    assert place.gateway.ok("GET", "/v1/info")["policy_generation"] == before
    assert place.facts()["protocol"] == "TLSv1.3"


def generation(gateway):
    return gateway.ok("GET", "/v1/info")["policy_generation"]


def test_changed_files_are_used_without_restart(place):
    place.point(port=tools.STRANGER)
    assert_refused(place.get(), 502, "upstream_tls_failed")
    before = generation(place.gateway)
    shutil.copy(place.tools.stranger.ca, place.ca)
    until(lambda: generation(place.gateway) > before, 10, "the new authorities are in use")
    until(lambda: place.get().status == 200, 5, "calls pass")
    # And what is now trusted no more: the pooled connection does not outlive the trust.
    before = generation(place.gateway)
    shutil.copy(place.tools.authority.ca, place.ca)
    until(lambda: generation(place.gateway) > before, 10, "the old authorities are in use")
    until(lambda: place.get().status == 502, 5, "refused again")


def test_broken_file_keeps_what_was_read(place):
    assert place.facts()["protocol"] == "TLSv1.3"
    place.ca.write_text("not a certificate\n")
    until(lambda: "what was read before stays in use" in place.gateway.process.output(), 10, "said")
    assert place.facts()["protocol"] == "TLSv1.3"
    place.gateway.apply(agent_class("mail-only", ["mail"]))  # another document is still welcome
    assert place.facts()["protocol"] == "TLSv1.3"
    # Even a restart: the service alone fails, until its file is put right.
    assert place.gateway.stop() == 0
    place.gateway.start()
    assert place.get().status == 502
    before = generation(place.gateway)
    shutil.copy(place.tools.authority.ca, place.ca)
    until(lambda: generation(place.gateway) > before, 10, "the file is read again")
    until(lambda: place.get().status == 200, 5, "calls pass")
