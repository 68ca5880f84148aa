#!/usr/bin/python3
"""The demo after the build: agents, gateway and a tool in namespaces; every step is checked.

SLUICE_DEMO_BYTES makes the bulk transfers smaller.
"""

import argparse
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab import network as net  # noqa: E402
from lab.certificates import Authority  # noqa: E402
from lab.clients import Agent  # noqa: E402
from lab.documents import HOST, agent_class, service  # noqa: E402
from lab.gateway import Gateway  # noqa: E402
from lab.isolate import isolate  # noqa: E402
from lab.problems import wrong_with  # noqa: E402
from lab.process import LabError, until  # noqa: E402
from lab.servers import Nginx  # noqa: E402
from lab.tokens import Issuer  # noqa: E402

GIB = 1 << 30
BIG = int(os.environ.get("SLUICE_DEMO_BYTES", "1000000000"))
PAGE = "docs/returns-policy.txt"


def human(seconds):
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def size(octets):
    return f"{octets / 1e9:g} GB" if octets >= 1e9 else f"{octets / 1e6:g} MB"


class Table:
    """Steps as they happen, one row each."""

    def __init__(self):
        self.rows = []

    def add(self, group, tried, came_back, seconds, problems):
        self.rows.append({"group": group, "tried": tried, "came_back": came_back,
                          "seconds": round(seconds, 6), "ok": not problems,
                          "problems": problems})
        mark = "ok  " if not problems else "FAIL"
        print(f"  {mark} {tried:<50} {came_back:<34} {human(seconds):>9}", flush=True)
        for problem in problems:
            print(f"       -> {problem}", flush=True)

    @property
    def good(self):
        return all(row["ok"] for row in self.rows)


class Demo:
    def __init__(self, folder):
        self.folder = folder
        self.table = Table()
        self.result = {}
        self.network = self.gateway = self.nginx = self.agent = None
        self.task = None

    def start(self):
        began = time.monotonic()
        self.network = net.Network()
        authority = Authority(self.folder / "tls")
        chain = authority.leaf("tools", "*.tools.example", "tools.example")
        issuer = Issuer(self.folder / "issuer")
        self.gateway = Gateway(self.network, self.folder / "gateway", chain,
                               workers=(os.cpu_count() - 1,))
        self.nginx = Nginx(self.network, self.folder / "nginx")
        page = b"".join(b"%06d  Goods may be returned within thirty days.\n" % i
                        for i in range(400))
        self.page = self.nginx.file(PAGE, page)
        self.nginx.start()
        self.gateway.start()
        self.agent = Agent(self.network, authority.ca, self.folder)
        print(f"  {self.network.agents.name} (198.18.1.2) --- sluiced, two DPDK ports --- "
              f"{self.network.tools.name} (198.18.2.2)")
        self.table.add("start", "start the gateway and nginx as the tool kb", "ready",
                       time.monotonic() - began, [])
        began = time.monotonic()
        documents = [issuer.document(), service(), agent_class("research", ["kb"]),
                     agent_class("mail-only", ["mail"])]
        self._apply(documents)
        self.task = self._mint("research")
        self.table.add("start", "sluicectl apply; sluicectl task create", "a task token",
                       time.monotonic() - began,
                       [] if self.task["token"].count(".") == 2 else ["not a JWS"])

    def _apply(self, documents):
        # One document after the other in a YAML stream; JSON is YAML.
        file = self.folder / "documents.yaml"
        file.write_text("\n---\n".join(json.dumps(d, indent=1) for d in documents) + "\n")
        self.gateway.ctl("apply", "-f", file)

    def _mint(self, name):
        output = self.gateway.ctl("--output", "json", "task", "create", "--class", name,
                                  "--subject", "agent-1", "--ttl", "300").stdout
        return json.loads(output)

    # -- calls that must pass

    def calls(self):
        for http, family in (("2", 4), ("2", 6), ("1.1", 4), ("1.1", 6)):
            reply = self.agent.curl(f"/{PAGE}", token=self.task["token"], http=http, family=family)
            problems = []
            if reply.status != 200:
                problems.append(f"status {reply.status} {reply.error} {reply.body[:200]!r}")
            elif reply.body != self.page:
                problems.append(f"{len(reply.body)} bytes, not the file's {len(self.page)}")
            version = str(reply.facts.get("http_version"))
            if version != http:
                problems.append(f"came by HTTP/{version}")
            self.table.add("calls", f"GET https://{HOST}/docs/…  HTTP/{http} over IPv{family}",
                           f"{reply.status}, {len(reply.body)} bytes as on disk",
                           reply.facts.get("time_total") or 0, problems)

    # -- refusals

    def _refused(self, tried, reply, status, code, **what):
        problems = wrong_with(reply, status, code, **what)
        try:
            came = f"{reply.status} {reply.json().get('code')}"
        except ValueError:
            came = f"{reply.status} {reply.error[:40]}"
        self.table.add("refusals", tried, came, reply.facts.get("time_total") or 0, problems)

    def refusals(self):
        page = f"/{PAGE}"
        self._refused("without a token", self.agent.curl(page), 401, "token_missing",
                      challenge=True, task=False)
        other = self._mint("mail-only")
        self._refused("task of a class that may not use kb",
                      self.agent.curl(page, token=other["token"]), 403, "segment_forbidden")
        deleted = self._mint("research")
        before = self.agent.curl(page, token=deleted["token"])
        self.gateway.ctl("task", "delete", deleted["txn"])
        reply = self.agent.curl(page, token=deleted["token"])
        if before.status != 200:
            reply.error = f"the call before the deletion: {before.status}"
            reply.status = 0
        self._refused("after the task is deleted", reply, 401, "token_revoked", challenge=True)
        self._refused("unknown host",
                      self.agent.curl(page, token=self.task["token"],
                                      host="unknown.tools.example"), 404, "service_unknown")
        self.nginx.stop()
        try:
            self._refused("with nginx stopped", self.agent.curl(page, token=self.task["token"]),
                          502, "connect_failed", retry_after=True)
        finally:
            self.nginx.start()
        reply = until(lambda: self._answered(page), 10, "calls pass again after nginx is back")
        self.table.add("refusals", "nginx started again", f"{reply.status}",
                       reply.facts["time_total"], [])

    def _answered(self, page):
        reply = self.agent.curl(page, token=self.task["token"])
        return reply if reply.status == 200 else None

    # -- bulk

    def transfers(self):
        free = shutil.disk_usage(self.folder).free
        if free < 2 * BIG + GIB:
            self.table.add("bulk", f"{size(BIG)} down and up", "not enough disk space", 0,
                           [f"{free >> 20} MiB free in {self.folder}, "
                            f"{(2 * BIG + GIB) >> 20} needed"])
            return
        big = self.nginx.www / "docs" / "big.bin"
        subprocess.run(f"openssl enc -aes-128-ctr -nosalt -K {'5' * 32} -iv {'a' * 32} </dev/zero "
                       f"2>/dev/null | head -c {BIG} >{big}", shell=True, check=True)
        wanted = self._sha256(big)
        token = self.task["token"]
        for http in ("2", "1.1"):
            command = self.agent.curl_command("/docs/big.bin", token=token, http=http)
            began = time.monotonic()
            came = self._digest_of(self.network.agents.command(*command))
            seconds = time.monotonic() - began
            self.table.add("bulk", f"download {size(BIG)}, HTTP/{http}",
                           f"sha256 {came[:12]}… {BIG / seconds / 1e6:.0f} MB/s", seconds,
                           [] if came == wanted else [f"sha256 {came}, expected {wanted}"])
        for http in ("2", "1.1"):
            target = self.nginx.www / "up" / f"big-{http}.bin"
            began = time.monotonic()
            reply = self.agent.curl(f"/up/{target.name}", token=token, http=http, timeout=120,
                                    extra=["-T", big])
            seconds = time.monotonic() - began
            came = self._sha256(target) if target.exists() else "nothing"
            problems = [] if reply.status == 201 else [f"status {reply.status} {reply.error} "
                                                       f"{reply.body[:200]!r}"]
            if came != wanted:
                problems.append(f"sha256 {came}, expected {wanted}")
            self.table.add("bulk", f"upload {size(BIG)}, HTTP/{http}",
                           f"sha256 {came[:12]}… {BIG / seconds / 1e6:.0f} MB/s", seconds, problems)
            target.unlink(missing_ok=True)
        big.unlink()

    @staticmethod
    def _sha256(path):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @staticmethod
    def _digest_of(command):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as child:
            return hashlib.file_digest(child.stdout, "sha256").hexdigest()

    def load(self):
        began = time.monotonic()
        load = self.agent.h2load("/small", self.task["token"], seconds=3, clients=8, streams=4)
        problems = []
        lost = load["failed"] + load["errored"] + load["timeout"]
        if lost or load["succeeded"] == 0 or sum(load["codes"][1:]) > 0:
            problems.append(f"{load['succeeded']} succeeded, {lost} lost, codes {load['codes']}")
        self.table.add("load", "h2load, 8 connections of 4 streams",
                       f"{load['requests_per_second']:.0f} calls/s, p99 {load['p99_us']} µs",
                       time.monotonic() - began, problems)
        self.result["load"] = {k: load[k] for k in ("requests_per_second", "p50_us", "p99_us",
                                                    "succeeded", "failed")}

    # -- one call from inside

    def stages(self):
        reply = self.agent.curl(f"/{PAGE}", token=self.task["token"])
        trace = self.task.get("trace_id")

        def recorded():
            for call in self.gateway.calls(limit=50):
                if call["path"] == f"/{PAGE}" and call["status"] == 200 and \
                        (not trace or call["trace_id"] == trace):
                    return call
            return None

        call = until(recorded, 5, "the call's record")
        total = call["total_us"] / 1e6
        problems = [] if reply.status == 200 else [f"status {reply.status}"]
        self.table.add("record", "the record of one call", f"{call['service']}, "
                       f"{'pooled' if call['pooled'] else 'new'} connection", total, problems)
        self.result["call"] = call
        print("\n  Where the time of that call went")
        for name, micros in call["stages_us"].items():
            seconds = micros / 1e6
            bar = "#" * round(40 * seconds / total) if total else ""
            print(f"    {name:<10} {human(seconds):>9}  {bar}")

    def after(self):
        began = time.monotonic()
        problems = []
        try:
            self.gateway.settled(10)
        except LabError as error:
            problems.append(str(error))
        left = self.gateway.leftovers()
        self.table.add("end", "all quiet again", f"{left['buffers']} buffers, "
                       f"{left['connections']} connections in use", time.monotonic() - began,
                       problems)

    def stop(self):
        if self.gateway and self.gateway.process:
            began = time.monotonic()
            code = self.gateway.stop()
            self.table.add("end", "SIGTERM to the gateway", f"exit code {code}",
                           time.monotonic() - began,
                           [] if code == 0 else [self.gateway.process.tail()])
        if self.nginx:
            self.nginx.stop()
        if self.network:
            self.network.remove()

    def run(self):
        steps = ((None, self.start), ("Calls", self.calls), ("Refusals", self.refusals),
                 ("Bulk", self.transfers), ("Load", self.load), ("Inside", self.stages),
                 ("Afterwards", self.after))
        for title, step in steps:
            if title:
                print(f"\n{title}")
            try:
                step()
            except (LabError, KeyError, ValueError, OSError, subprocess.SubprocessError) as error:
                self.table.add("error", step.__name__, type(error).__name__, 0, [str(error)])
                if step in (self.start,):
                    break


def typed(words):
    """A command as bash reads it: every word as it is, but $TOKEN expands."""
    return " ".join(f'"{w}"' if "$TOKEN" in w else shlex.quote(w) for w in map(str, words))


STOP = """#!/bin/bash
# Returns when all is gone; the folder goes last.
kill -TERM "$(cat {folder}/pid)"
for _ in $(seq 300); do
  [ -e {folder} ] || exit 0
  sleep 0.1
done
echo "still there: {folder}" >&2
exit 1
"""


def keep(demo, isolated):
    folder = demo.folder
    script = "#!/bin/bash\nexec nsenter -t \"$(cat {folder}/pid)\" -m -p {command} \"$@\"\n"
    agent_curl = typed(demo.agent.curl_command("/small", token="$TOKEN", extra=["-i"]))
    for name, command in (("agent", f"ip netns exec {demo.network.agents.name}"),
                          ("tool", f"ip netns exec {demo.network.tools.name}"),
                          ("sluicectl", typed(demo.gateway.ctl_command()))):
        file = folder / name
        file.write_text(script.format(folder=folder, command=command))
        file.chmod(0o755)
    (folder / "stop").write_text(STOP.format(folder=folder))
    (folder / "stop").chmod(0o755)
    (folder / "token").write_text(demo.task["token"])
    mint = f"{folder}/sluicectl task create --class research --subject me"
    print(f"""
Left running. To talk to it:
  TOKEN=$(cat {folder}/token)      # ends {demo.task["expires_at"]}; a new one:
  TOKEN=$({mint} | sed -n 's/^token: //p')
  {folder}/agent {agent_curl}
  {folder}/tool ss -tn
  {folder}/sluicectl status
  tail {folder}/gateway/sluiced.log
  {folder}/stop                    # end it; nothing stays behind
""", flush=True)
    isolated.detach(0 if demo.table.good else 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    isolated = isolate()
    began = time.monotonic()
    print("\nSluice between agents and tools", flush=True)
    demo = Demo(isolated.folder)
    try:
        demo.run()
        if not options.keep:
            demo.stop()
        seconds = time.monotonic() - began
        failed = sum(not row["ok"] for row in demo.table.rows)
        print(f"\n{len(demo.table.rows) - failed} of {len(demo.table.rows)} steps came back as they "
              f"should, {seconds:.0f} s", flush=True)
        if options.json:
            options.json.write_text(json.dumps(
                {"ok": demo.table.good, "seconds": round(seconds, 1), "steps": demo.table.rows,
                 **demo.result}, indent=1) + "\n")
        if options.keep and demo.task:
            keep(demo, isolated)
            while demo.gateway.process.alive():
                demo.gateway.process.popen.wait()
    finally:
        if demo.gateway and demo.gateway.process and demo.gateway.process.alive():
            demo.gateway.stop()
        if demo.nginx:
            demo.nginx.stop()
    return 0 if demo.table.good else 1


if __name__ == "__main__":
    sys.exit(main())
