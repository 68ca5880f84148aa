"""Endpoints by name: resolved, followed, kept while DNS fails, and shown."""

import itertools
import json
import re

import pytest

from lab import network as net
from lab.documents import agent_class, service
from lab.problems import assert_refused
from lab.process import Process, until
from lab.servers import DnsServer, listening
from lab.tls_tools import HEAD

pytestmark = pytest.mark.asan
HOST, NAME, SRV = "named.tools.example", "kb.backend.example", "_kb._tcp.backend.example"
FIRST, SECOND, SIX = net.TOOL[0], f"{net.TOOLS4}.3", net.TOOL[1]
SERVER = """  server {{ listen 0.0.0.0:{port}; listen [::]:{port};
    location / {{ return 200 "$server_addr:$server_port"; }} }}
"""


class Place:
    """A gateway with a DNS server of its own and tools that say which address was called."""

    def __init__(self, folder, own_gateway, number, dns="max_ttl_s: 60, stale_s: 30"):
        self.network = net.Network(suffix="-dns")
        self.network.tools.ip("addr", "add", f"{SECOND}/24", "dev", "eth0")
        tools = folder / f"dns-tools-{number}"
        tools.mkdir()
        conf = HEAD.format(folder=tools)
        for port in (8080, 8081):
            conf += SERVER.format(port=port)
        (tools / "nginx.conf").write_text(conf + "}\n")
        self.nginx = Process(self.network.tools.command(
            "nginx", "-e", tools / "error.log", "-p", tools, "-c", tools / "nginx.conf"),
            tools / "nginx.log")
        until(lambda: listening(self.network.tools, 8081), 10, "nginx listens")
        self.server = DnsServer(self.network, folder / f"dns-server-{number}").start()
        self.gateway = own_gateway(f"dns-{number}", network=self.network,
                                   dns=f"{{servers: [{DnsServer.ADDRESS}], {dns}}}")
        self.gateway.apply(agent_class("research", ["named"]))
        self.token = self.gateway.task("research", ttl_s=900)["token"]

    def zone(self, **entry):
        self.server.zone(**{NAME: entry})

    def apply(self, endpoint=None):
        endpoint = endpoint or {"host": NAME, "port": 8080}
        return self.gateway.apply(service("named", HOST, endpoints=[endpoint]))

    def get(self):
        return self.gateway.agent.curl("/", token=self.token, host=HOST)

    def called(self):
        reply = self.get()
        assert reply.status == 200, reply
        return reply.body.decode().rsplit(":", 1)[0].strip("[]")

    def record(self, kind="A", name=NAME):
        items = self.gateway.ok("GET", "/v1/dns")["items"]
        found = [i for i in items if (i["name"], i["record"]) == (name, kind)]
        return found[0] if found else None

    def refresh(self):
        return self.gateway.ok("POST", "/v1/dns:refresh")["items"]

    def failing(self, kind="A"):
        return self.record(kind)["last_error"] is not None


NUMBERS = itertools.count()  # each place has a state of its own: names are remembered with it


@pytest.fixture(name="make")
def fixture_make(folder, own_gateway):
    made = []

    def make(**options):
        made.append(Place(folder, own_gateway, next(NUMBERS), **options))
        return made[0]

    yield make
    made[0].gateway.settled(12)
    made[0].nginx.stop()
    made[0].server.stop()


def test_name_resolves_before_apply_answers(make):
    place = make()
    place.zone(A=[FIRST], ttl=60)
    place.apply()
    assert place.called() == FIRST  # at once: apply waits for the first answer
    record = place.record()
    assert record["addresses"] == [FIRST] and record["state"] == "fresh"
    assert 50 <= record["ttl_left_s"] <= 60 and 0 <= record["age_s"] < 10
    assert record["last_error"] is None
    six = place.record("AAAA")
    assert six["state"] == "none" and six["addresses"] == [] and six["last_error"]


def test_aaaa(make):
    place = make()
    place.zone(AAAA=[SIX])
    place.apply()
    assert place.called() == SIX
    place.server.zone(**{NAME: {"CNAME": "real.backend.example"},
                         "real.backend.example": {"A": [FIRST], "AAAA": [SIX]}})
    place.refresh()
    until(lambda: place.called() == FIRST, 10, "both families are used")
    until(lambda: place.called() == SIX, 10, "both families are used")


def test_new_address_after_ttl(make):
    place = make()
    place.zone(A=[FIRST], ttl=1)
    place.apply()
    assert place.called() == FIRST
    place.zone(A=[SECOND], ttl=1)
    until(lambda: place.called() == SECOND, 10, "the new address is called")
    assert place.record()["addresses"] == [SECOND]
    # Asked once per TTL, and no new policy while nothing changes.
    before = place.gateway.ok("GET", "/v1/info")["policy_generation"]
    asked = len(place.server.questions(NAME, "A"))
    until(lambda: len(place.server.questions(NAME, "A")) >= asked + 2, 10, "asked again")
    assert place.gateway.ok("GET", "/v1/info")["policy_generation"] == before


def test_max_ttl_bounds(make):
    place = make(dns="max_ttl_s: 1, stale_s: 0")
    place.zone(A=[FIRST], ttl=86400)
    place.apply()
    assert place.record()["ttl_left_s"] <= 1
    place.zone(A=[SECOND], ttl=86400)
    until(lambda: place.called() == SECOND, 10, "the new address is called")


def test_ttl_zero_is_not_a_storm(make):
    place = make()
    place.zone(A=[FIRST], ttl=0)
    place.apply()
    asked = len(place.server.questions(NAME, "A"))
    until(lambda: len(place.server.questions(NAME, "A")) > asked, 10, "asked again")
    assert place.called() == FIRST
    assert len(place.server.questions(NAME, "A")) - asked < 10


def test_no_such_name(make):
    place = make()
    place.apply()
    assert_refused(place.get(), 502, "dns_failed")
    assert place.record()["last_error"] == "no such name"
    # A name that comes to be is found without a word from anyone.
    place.zone(A=[FIRST], ttl=60)
    until(lambda: place.get().status == 200, 15, "the name is asked for again")
    # One that ceases to be is no more, however long its TTL was.
    place.server.zone()
    place.refresh()
    until(lambda: place.get().status == 502, 10, "gone")
    assert_refused(place.get(), 502, "dns_failed")


def test_no_usable_record(make):
    place = make()
    place.zone(A=["127.0.0.1", "0.0.0.0", "224.0.0.1"], ttl=60)
    place.apply()
    assert_refused(place.get(), 502, "dns_failed")
    assert "nothing that can be dialled" in place.record()["last_error"]


@pytest.mark.slow
def test_silent_server_leaves_the_old_answer(make):
    place = make(dns="max_ttl_s: 60, stale_s: 6")
    place.zone(A=[FIRST], ttl=1)
    place.apply()
    assert place.called() == FIRST
    place.server.zone(**{"*": "silent"})
    until(place.failing, 20, "the question has failed")
    record = place.record()
    assert record["last_error"] == "no server answered in time"
    assert record["state"] == "stale" and record["ttl_left_s"] < 0
    assert place.called() == FIRST
    assert "dns_names_stale 1\n" in place.gateway.rest("GET", "/metrics").body.decode()
    until(lambda: place.get().status == 502, 20, "stale_s is over")
    assert_refused(place.get(), 502, "dns_failed")
    assert place.record()["state"] == "none"
    place.zone(A=[SECOND], ttl=60)
    until(lambda: place.get().status == 200, 30, "the server is back")
    assert place.called() == SECOND and place.record()["last_error"] is None


def test_failing_server_leaves_the_old_answer(make):
    place = make()
    place.zone(A=[FIRST], ttl=1)
    place.apply()
    place.zone(rcode=2)  # SERVFAIL
    until(place.failing, 10, "the question has failed")
    assert place.record()["state"] == "stale" and place.called() == FIRST
    place.server.stop()  # nobody there at all
    asked = len(place.server.questions())
    place.refresh()
    assert place.called() == FIRST and len(place.server.questions()) == asked
    place.zone(A=[FIRST], ttl=60)
    place.server.start()
    until(lambda: not place.failing(), 30, "answered again")
    assert place.record()["state"] == "fresh"


def test_refresh_now(make):
    place = make()
    place.zone(A=[FIRST], ttl=60)
    place.apply()
    assert place.called() == FIRST
    place.zone(A=[SECOND], ttl=60)
    [a, _] = place.refresh()
    assert a["addresses"] == [SECOND], "the answer to refresh shows what came of it"
    until(lambda: place.called() == SECOND, 5, "the new address is called")
    place.zone(A=[FIRST], ttl=60)
    assert FIRST in place.gateway.ctl("dns", "refresh").stdout
    table = place.gateway.ctl("dns").stdout
    assert re.search(rf"{NAME}\s+A\s+fresh\s+{FIRST}", table), table
    rows = json.loads(place.gateway.ctl("-o", "json", "dns").stdout)
    assert {r["record"] for r in rows} == {"A", "AAAA"}
    events = place.gateway.rest("GET", "/v1/events?type=dns").body.decode().splitlines()
    assert any(FIRST in line for line in events)


def test_srv(make):
    place = make()
    place.server.zone(**{
        SRV: {"SRV": [[10, 0, 8081, "b.backend.example"], [20, 0, 8080, "a.backend.example"]]},
        "a.backend.example": {"A": [FIRST]}, "b.backend.example": {"A": [SECOND]}})
    place.apply({"srv": SRV})
    until(lambda: place.get().body == f"{SECOND}:8081".encode(), 10, "the lower priority first")
    # Its name gone, the next priority serves.
    place.server.zone(**{
        SRV: {"SRV": [[10, 0, 8081, "b.backend.example"], [20, 0, 8080, "a.backend.example"]]},
        "a.backend.example": {"A": [FIRST]}})
    place.refresh()
    until(lambda: place.get().body == f"{FIRST}:8080".encode(), 10, "the next priority")
    assert {t["host"] for t in place.record("SRV", SRV)["targets"]} == {"a.backend.example",
                                                                       "b.backend.example"}
    place.server.zone()
    place.refresh()
    until(lambda: place.get().status == 502, 10, "gone")
    assert_refused(place.get(), 502, "dns_failed")


def test_names_after_restart_and_removal(make):
    place = make()
    place.zone(A=[FIRST], ttl=60)
    place.apply()
    assert place.gateway.stop() == 0
    place.gateway.start()  # ready means: names have been asked for
    assert place.called() == FIRST
    place.gateway.ok("DELETE", "/v1/services/named")
    assert place.gateway.ok("GET", "/v1/dns")["items"] == []
