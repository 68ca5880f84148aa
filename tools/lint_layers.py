#!/usr/bin/python3
"""Checks every #include of the product against the arrows of docs/architecture.md.

An arrow means "may include, and whatever that may include" (docs/decisions/0001). Third-party
headers stay in the folder named for them, whatever the arrows.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Library -> (its folder, what it may include directly).
LIBRARIES = {
    "base": ("dataplane/base", []),
    "telemetry": ("dataplane/telemetry", ["base"]),
    "packet": ("dataplane/packet", ["base", "telemetry"]),
    "tcp": ("dataplane/tcp", ["base", "packet", "telemetry"]),
    "ip": ("dataplane/ip", ["base", "packet", "telemetry"]),
    "http": ("dataplane/http", ["base", "telemetry"]),
    "match": ("dataplane/match", ["base"]),
    "agent": ("dataplane/agent", ["http", "match"]),
    "crypto": ("crypto", ["base"]),
    "policy": ("dataplane/policy", ["base", "match"]),
    "state": ("dataplane/state", ["base", "telemetry"]),
    "runtime": ("dataplane/runtime", ["base", "telemetry"]),
    "port": ("dataplane/port", ["runtime", "packet"]),
    "tls": ("dataplane/tls", ["tcp", "crypto"]),
    "upstream": ("dataplane/upstream", ["tls", "http", "policy", "state"]),
    "transit": ("dataplane/transit", ["packet", "policy", "state", "port"]),
    "call": ("dataplane/call", ["http", "agent", "policy", "state", "upstream", "telemetry"]),
    "worker": ("dataplane/worker", ["call", "upstream", "tls", "tcp", "ip", "packet", "port",
                                    "runtime", "transit", "http", "agent", "crypto", "policy",
                                    "state", "telemetry", "match", "base"]),
    "controlplane": ("controlplane", ["policy", "state", "match", "crypto", "telemetry",
                                      "runtime"]),
    "pktgen": ("pktgen", ["base", "packet", "telemetry", "runtime", "port"]),
}

# The daemon's start joins control thread and workers: the one place above both.
DAEMON = re.compile(r"^controlplane/(daemon/|main\.cpp$|sluiced\.cpp$|daemon[a-z_]*\.(cpp|h)$)")

# Third-party header -> folders that may include it.
THIRD_PARTY = [
    (re.compile(r"^(rte_|dpdk/|ethdev_|bus_)"), {"runtime", "port", "transit", "pktgen"}),
    (re.compile(r"^wolfssl/"), {"crypto"}),
    (re.compile(r"^intel-ipsec-mb\.h$"), {"crypto"}),
    (re.compile(r"^openssl/"), set()),
    (re.compile(r"^nghttp2/"), {"http"}),
    (re.compile(r"^(hs/|hs\.h$|hs_)"), {"match"}),
    (re.compile(r"^simdjson"), {"agent"}),
    (re.compile(r"^jemalloc/"), {"runtime"}),
    (re.compile(r"^(boost/|yaml-cpp/|ares|CLI/|spdlog/|fmt/|sqlite3|systemd/)"),
     {"controlplane", "pktgen"}),
    (re.compile(r"^(gtest/|gmock/|benchmark/)"), set()),
]

# Sans-I/O folders take bytes and time as arguments: no sockets, threads, locks or clocks of the OS.
SANS_IO = {"base", "telemetry", "packet", "tcp", "ip", "http", "match", "agent", "policy", "state",
           "tls", "upstream", "transit", "call"}
SYSTEM = re.compile(
    r"^((sys/(socket|epoll|mman|ioctl|select|time)|unistd|poll|pthread|netdb|fcntl|time)\.h$|"
    r"(netinet|linux|net)/|"
    r"(thread|mutex|shared_mutex|condition_variable|future|iostream|fstream|filesystem|random)$)")

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)


def closure(name):
    seen, todo = set(), [name]
    while todo:
        for lower in LIBRARIES[todo.pop()][1]:
            if lower not in seen:
                seen.add(lower)
                todo.append(lower)
    return seen | {name}


def owner(path):
    text = path.as_posix()
    best = None
    for name, (folder, _) in LIBRARIES.items():
        if text.startswith(folder + "/") and (best is None or len(folder) > len(LIBRARIES[best][0])):
            best = name
    return best


def check_file(path, allowed):
    name = owner(path)
    may = set(LIBRARIES) if DAEMON.match(path.as_posix()) else allowed[name]
    problems = []
    text = (ROOT / path).read_text(encoding="utf-8")
    for match in INCLUDE.finditer(text):
        quoted, header = match.group(1) == '"', match.group(2)
        line = text.count("\n", 0, match.start()) + 1
        where = f"{path}:{line}"
        if ".." in header.split("/"):
            problems.append(f"{where}: {header}: includes do not climb out of their folder")
        first = header.split("/")[0]
        if quoted and "/" in header and first in LIBRARIES:
            if first not in may:
                problems.append(f"{where}: {name} may not include {first} ({header})")
            continue
        for pattern, folders in THIRD_PARTY:
            if pattern.match(header) and name not in folders:
                homes = ", ".join(sorted(folders)) or "tests"
                problems.append(f"{where}: {header} belongs to {homes}, not {name}")
        # Asking for huge pages is no I/O.
        hint = str(path) == "dataplane/base/slots.cpp" and header == "sys/mman.h"
        if name in SANS_IO and SYSTEM.match(header) and not hint:
            problems.append(f"{where}: {name} is sans-I/O and may not include <{header}>")
    return problems


def main():
    allowed = {name: closure(name) for name in LIBRARIES}
    for name, may in allowed.items():
        if name in set().union(*(allowed[other] for other in may - {name}), set()):
            print(f"arrows form a circle through {name}")
            return 1
    problems, count = [], 0
    for top in ("dataplane", "crypto", "controlplane", "pktgen"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix not in (".h", ".cpp", ".def"):
                continue
            relative = path.relative_to(ROOT)
            if owner(relative) is None:
                problems.append(f"{relative}: no library owns this folder")
                continue
            count += 1
            problems += check_file(relative, allowed)
    for problem in problems:
        print(problem)
    print(f"{count} files, {len(problems)} forbidden includes")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
