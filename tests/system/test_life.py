"""Start, stop, restart, idle; the boot file and what it refuses."""

import json
import os
import re
import signal
import stat
import subprocess
import time

import pytest
from test_network import echo

from lab import network as net
from lab.documents import agent_class, service
from lab.gateway import binary
from lab.network import GATEWAY_AGENTS
from lab.problems import assert_refused
from lab.process import run, until
from lab.servers import Nginx

RELEASE = pytest.mark.skipif(os.environ.get("SLUICE_BUILD") == "asan", reason="speed")


@pytest.fixture
def running(own_gateway, folder):
    """A gateway of its own with nginx behind it and documents applied."""
    gateway = own_gateway("life")
    tool = Nginx(gateway.network, folder / "life" / "nginx").start()
    tool.file("docs/a", b"a" * 100)
    gateway.apply(service(), agent_class())
    gateway.tool = tool
    yield gateway
    tool.stop()


def works(gateway, token):
    return gateway.agent.curl("/docs/a", token=token).status == 200


def test_restart_keeps_documents_and_tasks(running):
    task = running.task("research")
    gone = running.task("research")
    running.ok("DELETE", f"/v1/tasks/{gone['txn']}")
    before = running.ok("GET", "/v1/services/kb")
    assert works(running, task["token"])
    assert running.stop() == 0
    running.start()
    assert running.ok("GET", "/v1/services/kb")["spec"] == before["spec"]
    assert works(running, task["token"])
    assert_refused(running.agent.curl("/docs/a", token=gone["token"]), 401, "token_revoked",
                   challenge=True)


def test_kill_9_and_start_again_at_once(running):
    task = running.task("research")
    for _ in range(3):
        assert works(running, task["token"])
        running.kill()
        began = time.monotonic()
        running.start()
        assert time.monotonic() - began < 5
    assert works(running, task["token"])


def test_sigterm_under_load(running):
    token = running.task("research")["token"]
    command = running.agent.curl_command("/docs/a", token=token, extra=["--retry", "0"])
    child = running.network.agents.start("sh", "-c", f"while :; do {quoted(command)} -o /dev/null; "
                                         "done", log=running.folder / "load.out")
    until(lambda: running.counter("calls_finished") > 3, 10, "calls run")
    began = time.monotonic()
    assert running.stop(timeout=15) == 0
    assert time.monotonic() - began < 12
    child.kill()
    assert not running.socket.exists()


def test_sigterm_lets_running_calls_end(running):
    data = running.tool.file("docs/slow", bytes(range(256)) * 12_000)
    token = running.task("research")["token"]
    output = running.folder / "slow.out"
    command = running.agent.curl_command("/docs/slow", token=token, extra=[
        "--limit-rate", "2M", "-o", output])
    child = running.network.agents.start(*command, log=running.folder / "slow.log")
    until(lambda: output.exists() and output.stat().st_size > 100_000, 10, "the download runs")
    assert running.stop(timeout=15) == 0
    assert child.wait(10) == 0 and output.read_bytes() == data
    assert '"path":"/docs/slow"' in (running.state / "calls" / "calls.jsonl").read_text()


def quoted(command):
    return " ".join(f"'{word}'" for word in command)


def test_second_start_on_the_same_socket_is_refused(running):
    result = running.network.gateway.run(binary("sluiced"), "--config", running.config, check=False,
                                         timeout=20)
    assert result.returncode != 0
    assert works(running, running.task("research")["token"])


@RELEASE
def test_idle_costs_little(running):
    token = running.task("research")["token"]
    assert works(running, token)
    share = running.cpu_share(5)
    assert share < 0.05, f"{share:.1%} of a core while idle"


@RELEASE
def test_first_packet_after_idle(running):
    """Echo after half a second of silence; the best of several, as other programs share the core."""
    echo(running.network.agents, GATEWAY_AGENTS[0])
    times = []
    for _ in range(10):
        time.sleep(0.5)  # the silence is what is tested
        times.append(echo(running.network.agents, GATEWAY_AGENTS[0]))
    assert sorted(times)[len(times) // 4] < 200e-6, [f"{t * 1e6:.0f} µs" for t in times]


def test_control_socket_rights(running):
    mode = running.socket.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660


def test_changed_certificate_is_used(running, folder):
    token = running.task("research")["token"]
    assert works(running, token)
    before = fingerprint(running)
    running.authority.leaf("tools", "*.tools.example")  # the same files, another certificate
    until(lambda: fingerprint(running) != before, 15, "the new certificate")
    assert works(running, token)


def fingerprint(gateway):
    shown = gateway.network.agents.run(
        "openssl", "s_client", "-connect", f"{GATEWAY_AGENTS[0]}:443", "-servername",
        "kb.tools.example", input="", check=False).stdout
    return re.search(r"-----BEGIN CERTIFICATE-----.*?-----END", shown, re.DOTALL).group(0)


def test_ed25519_certificate(own_gateway, folder):
    network = net.Network(suffix="-ed")
    gateway = own_gateway("ed", start=False, network=network)
    chain, key = gateway.authority.leaf("ed", "*.tools.example", algorithm="ED25519")
    text = gateway.config.read_text()
    text = re.sub(r"chain: [^,]+, key: [^}]+", f"chain: {chain}, key: {key}", text)
    gateway.config.write_text(text)
    gateway.start()
    gateway.apply(service(), agent_class())
    reply = gateway.agent.curl("/", token=None)
    assert_refused(reply, 401, "token_missing", challenge=True, task=False)


def test_conf_d_is_applied_at_start(own_gateway):
    gateway = own_gateway("confd", start=False, conf_d={
        "10-kb.yaml": "kind: service\nname: kb\nspec: {hosts: [kb.tools.example], "
                      "endpoints: [{host: 198.18.2.2, port: 8080}]}\n---\n"
                      "kind: agent-class\nname: research\nspec: {allow: [kb]}\n"})
    gateway.start()
    assert gateway.ok("GET", "/v1/services/kb")["spec"]["hosts"] == ["kb.tools.example"]
    assert gateway.ok("GET", "/v1/agent-classes")["items"][0]["name"] == "research"


# -- the boot file

GOOD = """\
workers: [{cpu}]
memory: {{hugepages: never, packet_buffers: 8192}}
ports:
  agents: {{device: "net_af_packet0,iface=sl-agents", addresses: [198.18.1.1/24], mtu: 1500}}
  tools: {{device: "net_af_packet1,iface=sl-tools", addresses: [198.18.2.1/24]}}
listeners:
  - {{name: plain, port: agents, listen: 80, protocol: http}}
control: {{socket: {folder}/c.sock, state: {folder}/state}}
"""

BAD = {
    "unknown key": ("workers: [1]", "workerz: [1]\nworkers: [1]", 1, "workerz"),
    "wrong type": ("mtu: 1500", "mtu: big", 4, "mtu"),
    "mtu too large": ("mtu: 1500", "mtu: 70000", 4, "mtu"),
    "bad address": ("198.18.1.1/24", "198.18.1.300/24", 4, "addresses"),
    "no prefix": ("198.18.1.1/24", "198.18.1.1", 4, "addresses"),
    "unknown port": ("port: agents", "port: agentz", 7, "agentz"),
    "https without certificate": ("protocol: http}", "protocol: https}", 7, "certificate"),
    "unknown protocol": ("protocol: http}", "protocol: gopher}", 7, "protocol"),
    "listen 0": ("listen: 80", "listen: 0", 7, "listen"),
    "no device": ('device: "net_af_packet0,iface=sl-agents", ', "", 4, "device"),
    "worker twice": ("workers: [1]", "workers: [1, 1]", 1, "workers"),
    "no workers": ("workers: [1]", "workers: []", 1, "workers"),
    "not yaml": ("ports:", "ports: [", None, ""),
    "same port twice": ("  - {name: plain", "  - {name: other, port: agents, listen: 80, "
                        "protocol: http}\n  - {name: plain", 8, "listen"),
}


def check(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sluice.yaml"
    file.write_text(text)
    return run(binary("sluiced"), "--config", file, "--check", check=False)


def good_text(folder):
    return GOOD.format(folder=folder, cpu=1)


@pytest.mark.asan
def test_check_accepts(folder):
    result = check(folder / "check", good_text(folder))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.asan
@pytest.mark.parametrize("name", BAD)
def test_check_refuses_with_place_and_reason(folder, name):
    old, new, line, word = BAD[name]
    text = good_text(folder).replace(old, new)
    assert text != good_text(folder)
    result = check(folder / "check", text)
    said = result.stdout + result.stderr
    assert result.returncode != 0
    assert re.search(rf"sluice\.yaml:{line if line else '[0-9]+'}\b", said), said
    assert word in said
    assert "terminate called" not in said


@pytest.mark.asan
def test_check_reads_conf_d(folder):
    place = folder / "check-confd"
    documents = place / "conf.d"
    documents.mkdir(parents=True)
    (documents / "kb.yaml").write_text(json.dumps(service()))
    result = check(place, good_text(place))
    assert result.returncode == 0 and "conf.d: 1" in result.stdout, result.stderr
    (documents / "kb.yaml").write_text(json.dumps(service(timeouts={"step_ms": "soon"})))
    result = check(place, good_text(place))
    said = result.stdout + result.stderr
    assert result.returncode != 0 and "kb.yaml" in said and "step_ms" in said, said


@pytest.mark.asan
def test_missing_file_in_plain_words(folder):
    result = run(binary("sluiced"), "--config", folder / "nowhere.yaml", check=False)
    assert result.returncode != 0 and "nowhere.yaml" in result.stdout + result.stderr


@pytest.mark.asan
@pytest.mark.parametrize("old, new, word", [
    ("iface=sl-agents", "iface=nothere", "nothere"),
    ("net_af_packet0,iface=sl-agents", "net_nonsense0", "net_nonsense0"),
    ("workers: [1]", "workers: [999]", "999"),
])
def test_preflight_explains(folder, own_gateway, old, new, word):
    gateway = own_gateway("pre", start=False)
    text = good_text(folder / "pre").replace(old, new)
    gateway.config.write_text(text)
    result = gateway.network.gateway.run(binary("sluiced"), "--config", gateway.config, check=False,
                                         timeout=30)
    said = result.stdout + result.stderr
    assert result.returncode not in (0, -signal.SIGSEGV, -signal.SIGABRT), said
    assert word in said


@pytest.mark.asan
def test_version():
    assert re.search(r"\d+\.\d+\.\d+", run(binary("sluiced"), "--version").stdout)


@pytest.mark.asan
def test_help_names_the_options():
    said = run(binary("sluiced"), "--help").stdout
    assert "--config" in said and "--check" in said


def test_without_rights(running):
    """Not as root: refused in plain words, not with an EAL dump."""
    result = subprocess.run(
        running.network.gateway.command("setpriv", "--reuid=65534", "--clear-groups",
                                        "--inh-caps=-all", "--bounding-set=-all",
                                        str(binary("sluiced")), "--config", str(running.config)),
        capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr and (result.stdout + result.stderr).strip()
