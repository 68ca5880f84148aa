"""Frames captured by the gateway itself, read by tshark and capinfos."""

import contextlib
import itertools
import json
import os
import stat

import pytest

from lab import network as net
from lab.process import Process, run, until
from test_connections import listed

pytestmark = [pytest.mark.asan, pytest.mark.two]
FIELDS = ("frame.interface_name", "frame.packet_flags_direction", "ip.src", "tcp.srcport", "ip.dst",
          "tcp.dstport", "tcp.flags.syn", "tcp.flags.fin", "tcp.flags.reset", "tcp.len",
          "frame.time_epoch", "tls.record.content_type")
IN, OUT = "0x00000001", "0x00000002"


@pytest.fixture(name="capture")
def fixture_capture(lab, tmp_path):
    """Starts `sluicectl capture`; returns its file and process once frames are looked at."""
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:
        def start(*arguments, gateway=lab.gateway):
            file = tmp_path / f"{next(numbers)}.pcapng"
            command = [*gateway.ctl_command(), "capture", "-w", file, *arguments]
            process = Process(command, file.with_suffix(".log"))
            stack.callback(process.kill)
            until(lambda: "capturing" in process.output() or not process.alive(), 10,
                  "the capture begins")
            assert process.alive(), process.output()
            return file, process
        yield start


def ended(process, timeout=15):
    """SIGINT's answer is the rest of the file."""
    process.signal(2)
    assert process.wait(timeout) == 0, process.output()
    return process.output()


def frames(file, display="tcp"):
    text = run("tshark", "-n", "-r", file, "-Y", display, "-T", "fields",
               *(word for name in FIELDS for word in ("-e", name))).stdout
    return [dict(zip(FIELDS, line.split("\t"))) for line in text.splitlines()]


def test_a_call_is_in_the_capture_by_its_4_tuple(lab, capture):
    file, process = capture("--port", "agents", "tcp", "port", "443")
    reply = lab.get("/docs/page.txt", http="1.1")
    assert reply.status in (200, 404)
    other = lab.get("/docs/page.txt", http="1.1", scheme="http")  # not on port 443
    mine = (reply.facts["local_ip"], str(reply.facts["local_port"]))
    # Both ends have said their last.
    until(lambda: {c["state"] for c in listed(lab, remote=":".join(mine))} <= {"time_wait"}, 10,
          "the call's connection is over")
    assert " frames, 0 lost" in ended(process)

    seen = frames(file)
    assert {f["frame.interface_name"] for f in seen} == {"agents"}
    assert str(other.facts["local_port"]) not in {f["tcp.srcport"] for f in seen}
    agent = [f for f in seen if (f["ip.src"], f["tcp.srcport"]) == mine]
    gateway = [f for f in seen if (f["ip.dst"], f["tcp.dstport"]) == mine]
    assert agent and gateway
    for f in agent:
        assert f["frame.packet_flags_direction"] == IN
        assert (f["ip.dst"], f["tcp.dstport"]) == (net.GATEWAY_AGENTS[0], "443")
    for f in gateway:
        assert f["frame.packet_flags_direction"] == OUT
        assert (f["ip.src"], f["tcp.srcport"]) == (net.GATEWAY_AGENTS[0], "443")
    count = {name: [sum(f[f"tcp.flags.{name}"] in ("1", "True") for f in side)
                    for side in (agent, gateway)] for name in ("syn", "fin", "reset")}
    assert count["syn"] == [1, 1]
    # curl says close_notify and closes; when the gateway's own close_notify is there before, its kernel
    # says RST in place of FIN (RFC 2525 2.17).
    assert count["fin"][1] == 1 and count["reset"][1] == 0, count
    assert count["fin"][0] == 1 or count["reset"][0], count
    times = [float(f["frame.time_epoch"]) for f in seen]
    assert times == sorted(times)
    assert any(f["tls.record.content_type"] for f in agent), "TLS, and nothing that is clear"
    assert lab.token.encode() not in file.read_bytes()


def test_what_capinfos_says(lab, capture):
    file, process = capture("arp", "or", "tcp")
    assert lab.get("/docs/page.txt").status in (200, 404)
    lab.gateway.settled(10)
    said = ended(process)
    text = run("capinfos", "-M", file).stdout
    facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    facts = {k.strip(): v.strip() for k, v in facts.items()}
    assert facts["File type"].endswith("pcapng")
    assert facts["Number of packets"] == said.split(" frames")[0].split()[-1] != "0"
    assert facts["File timestamp precision"].startswith("nanoseconds")
    assert facts["Number of interfaces in file"] == "2"
    assert "Name = agents" in text and "Name = tools" in text
    assert "Filter string = arp or tcp" in text
    assert "Capture length = 16384" in text and "Number of stat entries = 1" in text
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600, "others' traffic is not for everyone"
    sides = {f["frame.interface_name"] for f in frames(file)}
    assert sides == {"agents", "tools"}


def test_bounds(lab, capture, tmp_path):
    file, process = capture("--packets", "5", "tcp")
    assert lab.get("/docs/page.txt").status in (200, 404)
    assert process.wait(10) == 0 and "5 frames" in process.output()
    assert len(frames(file)) == 5

    answer = lab.gateway.rest("POST", "/v1/capture", {"seconds": 1, "filter": "udp"}, timeout=10)
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/x-pcapng"
    short = tmp_path / "short.pcapng"
    short.write_bytes(answer.body)
    assert "Number of packets:   0" in run("capinfos", "-c", short).stdout

    file, process = capture("--snap", "64", "--bytes", "20000", "tcp", "port", "443")
    assert lab.call("/bytes/1000000").status == 200
    assert process.wait(10) == 0
    assert 15_000 < file.stat().st_size < 21_000
    assert "Packet size limit:   inferred: 64 bytes" in run("capinfos", "-l", file).stdout


def test_one_at_a_time_and_the_gateway_goes_on(lab, capture, tmp_path):
    _, process = capture("--seconds", "30")
    second = lab.gateway.ctl("capture", "-w", tmp_path / "no", check=False)
    assert second.returncode == 1 and "(409)" in second.stderr
    assert not (tmp_path / "no").exists()
    process.kill()  # without a word
    until(lambda: lab.gateway.rest("POST", "/v1/capture", {"seconds": 1, "filter": "udp"}).status
          == 200, 10, "the next one may begin")
    assert lab.call("/bytes/100000").status == 200


def test_bad_requests_are_named(lab, tmp_path):
    for body, pointer in (({"filter": "host kb.tools.example"}, "/filter"),
                          ({"filter": "tcp port"}, "/filter"), ({"ports": ["wan"]}, "/ports/0"),
                          ({"packets": 0}, "/packets"), ({"colour": 1}, "/colour")):
        answer = lab.gateway.rest("POST", "/v1/capture", body)
        assert answer.status == 400 and answer.json()["pointer"] == pointer, answer
    assert lab.gateway.rest("GET", "/v1/capture").status == 405
    wrong = lab.gateway.ctl("capture", "-w", tmp_path / "f", "port", "https", check=False)
    assert wrong.returncode == 1 and '"https"' in wrong.stderr
    assert not (tmp_path / "f").exists()
    nowhere = lab.gateway.ctl("capture", "-w", tmp_path / "no" / "f", "--seconds", "1", check=False)
    assert nowhere.returncode == 2 and "No such file" in nowhere.stderr


def test_the_gateway_stops_during_a_capture(own_gateway, capture):
    gateway = own_gateway("cap")
    file, process = capture("--seconds", "60", gateway=gateway)
    assert gateway.stop() == 0
    assert process.wait(15) == 3, process.output()
    assert run("capinfos", "-c", file).returncode == 0, "whole blocks"
    assert "not given back" not in gateway.process.output()


def test_a_heavy_transfer_is_not_held_up(lab, capture):
    _, process = capture("--bytes", str(1 << 30), "--packets", "10000000")
    reply = lab.call("/bytes/20000000")
    assert reply.status == 200 and len(reply.body) == 20_000_000
    said = ended(process, 30)
    kept, lost = (int(word) for word in said.split("\n")[-2].replace(",", "").split()
                  if word.isdigit())
    assert kept + lost > 20_000_000 / 1500 * 2, json.dumps(said)
