"""Certificates towards agents: which one is shown, and when it changes."""

import re

import pytest

from lab.documents import agent_class, service
from lab.network import GATEWAY_AGENTS
from lab.problems import assert_refused
from lab.process import until

pytestmark = pytest.mark.asan


class Shown:
    """What openssl says of a handshake."""

    def __init__(self, gateway, name=None):
        sni = ["-servername", name] if name else ["-noservername"]
        text = gateway.network.agents.run(
            "openssl", "s_client", "-connect", f"{GATEWAY_AGENTS[0]}:443", *sni, "-CAfile",
            gateway.authority.ca, *(["-verify_hostname", name] if name else []),
            input="", check=False).stdout
        self.trusted = "Verify return code: 0 (ok)" in text
        self.algorithm = re.search(r"Peer signature type: (\S+)", text).group(1)
        self.subject = re.search(r"subject=.*CN = (\S+)", text).group(1)
        self.pem = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END", text, re.DOTALL).group(0)


def test_changed_certificate_is_used(own_gateway):
    gateway = own_gateway("cert")
    before = Shown(gateway, "kb.tools.example").pem
    gateway.authority.leaf("tools", "*.tools.example")  # the same files, another certificate
    until(lambda: Shown(gateway, "kb.tools.example").pem != before, 15, "the new certificate")
    assert Shown(gateway, "kb.tools.example").trusted


def test_server_name_chooses_the_certificate(own_gateway, folder):
    """RFC 6066 section 3; the names are those in the certificates (RFC 9525)."""
    gateway = own_gateway("sni", start=False)
    authority = gateway.authority
    add_certificates(gateway, ed=authority.leaf("ed", "*.mail.example", "pay.tools.example",
                                                algorithm="ED25519"))
    gateway.start()
    p256, ed25519 = ("ECDSA", "*.tools.example"), ("ed25519", "*.mail.example")
    for name, expected, trusted in (
            ("kb.tools.example", p256, True),
            ("a.mail.example", ed25519, True),
            ("A.Mail.EXAMPLE", ed25519, True),
            ("pay.tools.example", ed25519, True),  # an exact name before a wildcard
            ("a.b.mail.example", p256, False),  # a wildcard is one label; the listener's default
            ("mail.example", p256, False),
            ("elsewhere.example", p256, False)):
        shown = Shown(gateway, name)
        assert (shown.algorithm, shown.subject) == expected and shown.trusted == trusted, name
    assert Shown(gateway).subject == "*.tools.example"  # no name at all
    # A call on the connection: the certificate says nothing about which service is asked for.
    gateway.apply(service("mail", host="a.mail.example"), agent_class("research", ["mail"]))
    reply = gateway.agent.curl("/", host="a.mail.example")
    assert_refused(reply, 401, "token_missing", challenge=True, task=False)


def add_certificates(gateway, **certificates):
    lines = "".join(f"  {name}: {{chain: {chain}, key: {key}}}\n"
                    for name, (chain, key) in certificates.items())
    text = gateway.config.read_text()
    gateway.config.write_text(text.replace("certificates:\n", "certificates:\n" + lines))


def test_ed25519_certificate_alone(own_gateway):
    gateway = own_gateway("ed", start=False)
    chain, key = gateway.authority.leaf("ed", "*.tools.example", algorithm="ED25519")
    text = gateway.config.read_text()
    gateway.config.write_text(re.sub(r"chain: [^,]+, key: [^}]+", f"chain: {chain}, key: {key}", text))
    gateway.start()
    shown = Shown(gateway, "kb.tools.example")
    assert shown.algorithm == "ed25519" and shown.trusted
    gateway.apply(service(), agent_class())
    assert_refused(gateway.agent.curl("/", token=None), 401, "token_missing", challenge=True,
                   task=False)
