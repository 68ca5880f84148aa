"""TCP connections and their events, looked at while calls run."""

import re
import socket
import struct

import pytest

from lab import network as net
from lab.clients import read_all
from lab.process import until
from test_sluicectl import table

pytestmark = [pytest.mark.asan, pytest.mark.two]


def listed(lab, **query):
    text = "&".join(f"{name}={value}" for name, value in query.items())
    return lab.gateway.ok("GET", f"/v1/connections?{text}")["items"]


def endpoint(sock):
    address, port = sock.getsockname()[:2]
    return f"{address}:{port}"


def test_a_call_is_seen_on_both_sides(lab):
    with lab.connect() as sock:
        mine = endpoint(sock)
        sock.sendall(lab.request("/hang"))
        agent, = until(lambda: listed(lab, remote=mine), 5, "the agent's connection")
        tools = until(lambda: listed(lab, side="tool", state="established", remote=":8081"), 5,
                      "the connection to the tool")
    assert f"{agent['remote']['address']}:{agent['remote']['port']}" == mine
    assert agent["local"] == {"address": net.GATEWAY_AGENTS[0], "port": 443}
    assert agent["side"] == "agent" and agent["port"] == "agents"
    assert agent["listener"] == "tools-https" and agent["state"] == "established"
    assert agent["mss"] > 1400 and agent["rtt_us"] > 0 and agent["age_us"] > 0
    assert agent["bytes_in"] > 200 and agent["estats"]["HCThruOctetsReceived"] == agent["bytes_in"]
    assert agent["estats"]["SegsIn"] > 2 and agent["retransmits"] == 0
    for tool in tools:  # idle ones of earlier calls may be among them
        assert tool["port"] == "tools" and "listener" not in tool
        assert tool["local"]["address"] == net.GATEWAY_TOOLS[0]


def test_filters_and_pages(lab):
    socks = [lab.connect(tls=False, port=80) for _ in range(7)]
    try:
        names = {endpoint(s) for s in socks}
        until(lambda: len(listed(lab, listener="tools-http", state="established")) == 7, 5, "seven")

        def pages():
            token, seen = "", []
            while True:
                answer = lab.gateway.ok("GET", "/v1/connections?listener=tools-http&limit=2"
                                        "&state=established" + token)
                assert len(answer["items"]) <= 2
                seen += [f"{c['remote']['address']}:{c['remote']['port']}" for c in answer["items"]]
                if "next_page_token" not in answer:
                    return seen
                token = f"&page_token={answer['next_page_token']}"

        seen = pages()
        assert len(seen) == 7 and set(seen) == names
        own = socks[3].getsockname()[1]
        assert len(listed(lab, remote=f":{own}", listener="tools-http")) == 1
        assert len(listed(lab, local="198.18.1.0/24", listener="tools-http",
                          state="established")) == 7
        assert listed(lab, local="203.0.113.0/24") == []
        assert listed(lab, listener="tools-http", state="syn_sent") == []
        assert len(listed(lab, local=":80", side="agent", state="established")) == 7
    finally:
        for sock in socks:
            sock.close()


@pytest.mark.parametrize("query, word", [
    ("state=open", "state"), ("local=nonsense", "local"), ("remote=1.2.3.4:0", "remote"),
    ("listener=none", "listener"), ("side=left", "side"), ("limit=1001", "limit"),
    ("page_token=7", "page_token"), ("page_token=x.y", "page_token"), ("colour=red", "query")])
def test_bad_questions_are_named(lab, query, word):
    answer = lab.gateway.rest("GET", f"/v1/connections?{query}")
    assert answer.status == 400 and answer.json()["detail"].startswith(word), answer


# Positions no walk ever gave out: the answer is a page, and the gateway lives.
@pytest.mark.parametrize("token", ["0.ffffffff", "0.7fffffff", "0.c0000000", "0.ffffffffffffffff",
                                   "0.40000000", "99.0", "0.1ffffffff", "0.80000001"])
def test_a_position_of_another_time_ends(lab, token):
    answer = lab.gateway.rest("GET", f"/v1/connections?page_token={token}")
    assert answer.status == 200, answer


def test_a_reset_leaves_its_events(lab):
    sock = lab.connect(tls=False, port=80)
    mine, local = endpoint(sock), f"{net.GATEWAY_AGENTS[0]}:80"
    sock.sendall(lab.request("/hang"))
    target = f"/v1/connections/events?local={local}&remote={mine}"
    live, = until(lambda: lab.gateway.ok("GET", target)["items"], 5, "events while it lives")
    assert live["live"] is True
    assert live["events_total"] == len(live["events"]) >= 2
    states = [e["state"] for e in live["events"] if e["event"] == "state"]
    assert states == ["syn_received", "established"]
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()

    def kept():
        items = lab.gateway.ok("GET", target)["items"]
        return [i for i in items if not i["live"] and i["events"][-1]["event"] == "state"]

    trace, = until(kept, 5, "the ring is kept")
    names = [e["event"] for e in trace["events"]]
    assert "reset_received" in names, names
    assert trace["events"][-1]["state"] == "closed"
    times = [e["ago_us"] for e in trace["events"]]
    assert times == sorted(times, reverse=True)
    text = lab.gateway.ctl("connections", "events", "--remote", mine).stdout
    assert mine in text and "reset_received" in text


def test_sluicectl_shows_them(lab):
    with lab.connect(tls=False, port=80) as sock:
        mine = endpoint(sock)
        until(lambda: listed(lab, remote=mine), 5, "the connection")
        row, = table(lab.gateway.ctl("connections", "--remote", mine).stdout)
        assert row["REMOTE"] == mine and row["SIDE"] == "agent" and row["STATE"] == "established"
        assert re.fullmatch(r"\d+\.\d{3}", row["AGE S"])
        everything = table(lab.gateway.ctl("connections", "--all").stdout)
        assert mine in {r["REMOTE"] for r in everything}
        assert "REMOTE" in lab.gateway.ctl("get", "connections").stdout
    wrong = lab.gateway.ctl("connections", "--state", "open", check=False)
    assert wrong.returncode == 1 and "state" in wrong.stderr


# Questions from all sides at once while data flows: nothing is torn, nobody waits for long.
def test_many_questions_under_load(lab):
    with lab.connect(tls=False, port=80) as sock:
        sock.sendall(lab.request("/bytes/20000000", fields="Connection: close\r\n"))
        answers = [listed(lab, limit=1000) for _ in range(30)]
        data, ending = read_all(sock, 1 << 25)
    assert ending == "fin" and len(data.split(b"\r\n\r\n", 1)[1]) == 20_000_000
    assert all(answers)
