"""sluicectl against the running daemon: what it prints, and how it ends."""

import json
import re

import pytest
import yaml

from lab.gateway import binary
from lab.process import run, until

pytestmark = pytest.mark.asan

TWO = """\
kind: agent-class
name: from-ctl
spec:
  allow: [kb]
---
kind: agent-class
name: from-ctl-2
spec: {allow: []}
"""


def table(text):
    """Rows of a table as dictionaries by its headings."""
    lines = [re.split(r" {2,}", line.rstrip()) for line in text.strip().splitlines()]
    return [dict(zip(lines[0], line)) for line in lines[1:]]


@pytest.fixture(name="ctl")
def fixture_ctl(lab):
    yield lab.gateway.ctl
    for name in ("from-ctl", "from-ctl-2"):
        lab.gateway.ctl("delete", "agent-class", name, check=False)


def test_status(lab, ctl):
    info, stats = lab.gateway.ok("GET", "/v1/info"), lab.gateway.stats()
    head, workers, ports = ctl("status").stdout.split("\n\n")
    assert re.fullmatch(rf"sluice {re.escape(info['version'])}, policy generation "
                        rf"{info['policy_generation']}, {stats['documents']} documents, \d+ tasks",
                        head)
    workers = table(workers)
    assert [row["INDEX"] for row in workers] == [str(w["index"]) for w in stats["workers"]]
    for row, worker in zip(workers, stats["workers"]):
        assert row["CPU"] == str(worker["cpu"]) and row["RUNNING"] == "true"
        assert int(row["CONNECTIONS"]) >= 0 and 0 <= float(row["BUSY RATIO"]) <= 1
        assert row["POLICY GENERATION"] == str(info["policy_generation"])
    ports = table(ports)
    assert [row["NAME"] for row in ports] == ["agents", "tools"]
    assert {row["DRIVER"] for row in ports} == {"net_af_packet"}
    assert {row["MTU"] for row in ports} == {"1500"} and {row["LINK UP"] for row in ports} == {"true"}
    assert "198.18.1.1/24" in ports[0]["ADDRESSES"] and "2001:db8:2::1/64" in ports[1]["ADDRESSES"]
    whole = json.loads(ctl("-o", "json", "status").stdout)
    assert whole["info"]["version"] == info["version"]
    assert len(whole["stats"]["workers"]) == len(workers)


def test_apply_get_delete(ctl, tmp_path):
    file = tmp_path / "doc.yaml"
    file.write_text(TWO)
    tried = ctl("apply", "-f", file, "--dry-run").stdout
    assert "agent-class/from-ctl would change\nagent-class/from-ctl-2 would change\n" in tried
    assert ctl("get", "agent-class", "from-ctl", check=False).returncode == 1
    applied = ctl("apply", "-f", file).stdout
    assert re.fullmatch(r"agent-class/from-ctl applied\nagent-class/from-ctl-2 applied\n"
                        r"generation \d+\n", applied)
    assert re.fullmatch(r"nothing to change\ngeneration \d+\n", ctl("apply", "-f", file).stdout)
    rows = {row["NAME"]: row for row in table(ctl("get", "agent-classes").stdout)}
    assert rows["from-ctl"]["IN USE"] == "true" and rows["from-ctl"]["GENERATION"].isdigit()
    assert ctl("delete", "agent-class", "from-ctl").stdout == "agent-class/from-ctl removed\n"
    assert "from-ctl" not in {row["NAME"] for row in table(ctl("get", "agent-classes").stdout)}


def test_apply_from_standard_input_and_several_files(lab, ctl, tmp_path):
    command = [*lab.gateway.ctl_command(), "apply", "-f", "-"]
    assert "agent-class/from-ctl applied" in run(*command, input=TWO.partition("---")[0]).stdout
    (tmp_path / "a.json").write_text(json.dumps(yaml.safe_load(TWO.partition("---")[0])))
    (tmp_path / "b.yaml").write_text(TWO.partition("---\n")[2])
    said = ctl("apply", "-f", tmp_path / "a.json", "-f", tmp_path / "b.yaml").stdout
    assert "from-ctl-2 applied" in said and "from-ctl applied" not in said  # the first is there


def test_forms_of_output_say_the_same(ctl, tmp_path):
    file = tmp_path / "doc.yaml"
    file.write_text(TWO)
    ctl("apply", "-f", file)
    one = ("get", "agent-class", "from-ctl")
    as_json = json.loads(ctl("--output", "json", *one).stdout)
    assert as_json["spec"]["allow"] == ["kb"] and as_json["kind"] == "agent-class"
    assert yaml.safe_load(ctl("--output", "yaml", *one).stdout) == as_json
    assert yaml.safe_load(ctl(*one).stdout) == as_json  # one document has no table
    many = ("get", "services")
    assert yaml.safe_load(ctl("-o", "yaml", *many).stdout) == json.loads(
        ctl("-o", "json", *many).stdout)
    # What was printed can be edited and applied.
    file.write_text(ctl("-o", "yaml", *one).stdout.replace("kb", "tool"))
    assert "agent-class/from-ctl applied" in ctl("apply", "-f", file).stdout
    assert json.loads(ctl("-o", "json", *one).stdout)["spec"]["allow"] == ["tool"]


def test_tasks(lab, ctl):
    said = ctl("task", "create", "--class", "research", "--subject", "agent-21", "--ttl", "120",
               "--label", "team=x").stdout
    made = dict(line.split(": ", 1) for line in said.splitlines())
    assert set(made) == {"txn", "expires_at", "trace_id", "token"}
    assert lab.call("/bytes/1", token=made["token"]).status == 200
    rows = {row["TXN"]: row for row in table(ctl("task", "list", "--class", "research").stdout)}
    assert rows[made["txn"]] == {"TXN": made["txn"], "STATE": "live", "AGENT CLASS": "research",
                                 "SUBJECT": "agent-21", "EXPIRES AT": made["expires_at"]}
    shown = yaml.safe_load(ctl("task", "get", made["txn"]).stdout)
    assert shown["subject"] == "agent-21" and shown["labels"] == {"team": "x"}
    assert json.loads(ctl("-o", "json", "task", "get", made["txn"]).stdout)["txn"] == made["txn"]
    assert ctl("task", "delete", made["txn"]).stdout == f"{made['txn']} revoked\n"
    revoked = table(ctl("task", "list", "--state", "revoked").stdout)
    assert made["txn"] in [row["TXN"] for row in revoked]
    assert made["txn"] not in ctl("task", "list", "--state", "live").stdout
    assert lab.call("/bytes/1", token=made["token"]).status == 401


def test_calls(lab, ctl):
    assert lab.call("/bytes/21").status == 200

    def newest():
        call = table(ctl("calls", "--limit", "1").stdout)[0]
        return (call["SERVICE"], call["PATH"], call["STATUS"])

    # The record reaches the control plane after the answer has reached the agent.
    until(lambda: newest() == ("tool", "/bytes/21", "200"), 10, "the call is the newest")


@pytest.mark.parametrize("arguments, code, words", [
    (["get", "service", "nobody"], 1, ["nobody", "404"]),
    (["delete", "service", "nobody"], 1, ["nobody"]),
    (["task", "get", "9705a1d2-0000-4000-8000-000000000000"], 1, ["404"]),
    (["task", "create", "--class", "nobody", "--subject", "me"], 1, ["/agent_class"]),
    (["task", "create", "--class", "research"], 2, ["--subject"]),
    (["task", "create", "--class", "research", "--subject", "me", "--label", "x"], 2, ["NAME=VALUE"]),
    (["get", "cats"], 2, ["cats", "agent-class"]),
    (["apply", "-f", "/nowhere/x.yaml"], 2, ["/nowhere/x.yaml"]),
    (["-o", "xml", "status"], 2, ["xml"]),
    (["nonsense"], 2, ['unknown verb "nonsense"']),
    ([], 2, []),
])
def test_what_does_not_work(ctl, arguments, code, words):
    result = ctl(*arguments, check=False)
    assert result.returncode == code, result
    assert all(word in result.stderr + result.stdout for word in words), result


def test_refused_documents_name_the_place(ctl, tmp_path):
    file = tmp_path / "doc.yaml"
    file.write_text("kind: agent-class\nname: from-ctl\nspec:\n  alow: [kb]\n")
    result = ctl("apply", "-f", file, check=False)
    assert result.returncode == 1 and "/0/spec/alow" in result.stderr and "allow" in result.stderr
    file.write_text("kind: agent-class\nname: [\n")
    result = ctl("apply", "-f", file, check=False)
    assert result.returncode == 2 and "doc.yaml" in result.stderr


def test_no_gateway(tmp_path):
    result = run(binary("sluicectl"), "--socket", tmp_path / "none.sock", "status", check=False)
    assert result.returncode == 3 and "none.sock" in result.stderr and "Is sluiced running" in result.stderr
