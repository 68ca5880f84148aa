"""What stands before the first packet: the boot file, conf.d, memory, rights."""

import json
import re
import signal
import subprocess

import pytest

from lab.documents import service
from lab.gateway import binary
from lab.process import run

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


def started(gateway, *before):
    """What the daemon said when it refused to start."""
    result = gateway.network.gateway.run(*before, binary("sluiced"), "--config", gateway.config,
                                         check=False, timeout=30)
    said = result.stdout + result.stderr
    assert result.returncode == 1, said
    assert "EAL:" not in said and "terminate called" not in said, said
    assert not gateway.socket.exists()
    return said


@pytest.mark.parametrize("dropped, named", [
    ("-all", "CAP_NET_RAW"), ("-net_raw", "CAP_NET_RAW"), ("-net_admin", "CAP_NET_ADMIN"),
])
def test_without_rights(own_gateway, dropped, named):
    """Refused in plain words, not with an EAL dump."""
    gateway = own_gateway("rights", start=False)
    said = started(gateway, "setpriv", "--inh-caps=-all", f"--bounding-set={dropped}")
    assert f"the right {named} is missing" in said and "run as root" in said


# -- hugepages


@pytest.fixture(name="no_hugepages")
def fixture_no_hugepages(folder):
    """A machine without free hugepages, whatever this one has: in the lab's mount namespace."""
    with open("/proc/meminfo", encoding="ascii") as real:
        text = re.sub(r"(HugePages_(?:Total|Free)): +\d+", r"\1:       0", real.read())
    fake = folder / "meminfo"
    fake.write_text(text)
    subprocess.run(["mount", "--bind", fake, "/proc/meminfo"], check=True)
    yield
    subprocess.run(["umount", "/proc/meminfo"], check=True)


@pytest.mark.asan
@pytest.mark.usefixtures("no_hugepages")
def test_hugepages_auto_falls_back_to_normal_pages(own_gateway):
    gateway = own_gateway("pages-auto", hugepages="auto")
    assert gateway.ok("GET", "/v1/info")["memory"]["hugepages"] is False
    said = gateway.process.output()
    assert re.search(r"normal memory pages are used: packet memory takes \d+ MB; 0 MB of hugepages "
                     r"are free", said), said
    assert "nr_hugepages" in said


@pytest.mark.usefixtures("no_hugepages")
def test_hugepages_required_but_missing(own_gateway):
    said = started(own_gateway("pages-required", start=False, hugepages="require"))
    assert "not enough hugepages" in said and "hugepages: auto" in said


@pytest.mark.usefixtures("no_hugepages")
def test_hugepages_never_says_nothing(own_gateway):
    gateway = own_gateway("pages-never", hugepages="never")
    assert gateway.ok("GET", "/v1/info")["memory"]["hugepages"] is False
    assert "hugepages" not in gateway.process.output()


# -- conf.d


@pytest.mark.parametrize("name, text, words", [
    ("10-kb.yaml", "kind: service\nname: kb\nspec: {hostz: [kb.tools.example]}\n",
     ["10-kb.yaml", "hostz"]),
    ("10-kb.yaml", "kind: service\nname: kb\nspec: [\n", ["10-kb.yaml"]),
    ("20-twice.yaml", "kind: agent-class\nname: a\nspec: {}\n---\nkind: agent-class\nname: a\n"
                      "spec: {}\n", ["agent-class/a", "already"]),
])
def test_refused_conf_d(own_gateway, name, text, words):
    """A start that would run with less than was written does not happen."""
    gateway = own_gateway("refused", start=False, conf_d={name: text})
    said = started(gateway)
    assert all(word in said for word in words), said
    # It is not half applied either: with the file gone, there is nothing.
    (gateway.config.parent / "conf.d" / name).unlink()
    gateway.start()
    assert gateway.ok("GET", "/v1/services")["items"] == []
    assert gateway.ok("GET", "/v1/agent-classes")["items"] == []


def test_conf_d_is_applied_at_start(own_gateway):
    gateway = own_gateway("confd", start=False, conf_d={
        "10-kb.yaml": "kind: service\nname: kb\nspec: {hosts: [kb.tools.example], "
                      "endpoints: [{host: 198.18.2.2, port: 8080}]}\n---\n"
                      "kind: agent-class\nname: research\nspec: {allow: [kb]}\n"})
    gateway.start()
    assert gateway.ok("GET", "/v1/services/kb")["spec"]["hosts"] == ["kb.tools.example"]
    assert gateway.ok("GET", "/v1/agent-classes")["items"][0]["name"] == "research"
