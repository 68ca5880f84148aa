#!/usr/bin/python3
"""Checks every #include of the product against the arrows of docs/architecture.md.

An arrow means "may include, and whatever that may include" (docs/decisions/0001). Third-party
headers stay in the folder named for them, whatever the arrows. Before that it looks at a tree in
which each rule is broken once, and must find just that.
"""

import pathlib
import re
import sys
import tempfile

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
    (re.compile(r"^(boost/|yaml-cpp/|ares|pcap|CLI/|spdlog/|fmt/|sqlite3|systemd/)"),
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


def check_file(root, path, allowed):
    name = owner(path)
    may = set(LIBRARIES) if DAEMON.match(path.as_posix()) else allowed[name]
    problems = []
    text = (root / path).read_text(encoding="utf-8")
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


def check_tree(root, allowed):
    """(files seen, problems)."""
    problems, count = [], 0
    for top in ("dataplane", "crypto", "controlplane", "pktgen"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in (".h", ".cpp", ".def"):
                continue
            relative = path.relative_to(root)
            if owner(relative) is None:
                problems.append(f"{relative}: no library owns this folder")
                continue
            count += 1
            problems += check_file(root, relative, allowed)
    return count, problems


# File -> (what it includes, what must be said of it; nothing when it may).
EXAMPLES = {
    "dataplane/tcp/good.cpp": ('#include "base/bytes.h"\n#include <vector>\n', ""),
    "dataplane/upstream/far.cpp": ('#include "tcp/stack.h"\n', ""),  # through tls
    "dataplane/tcp/up.cpp": ('#include "tls/stream.h"\n', "tcp may not include tls"),
    "dataplane/base/up.h": ('#pragma once\n  #  include "packet/frame.h"\n',
                            "base/up.h:2: base may not include packet"),
    "dataplane/policy/side.cpp": ('#include "runtime/clock.h"\n', "policy may not include runtime"),
    "dataplane/worker/control.cpp": ('#include "controlplane/control.h"\n',
                                     "worker may not include controlplane"),
    "controlplane/core/worker.cpp": ('#include "worker/worker.h"\n',
                                     "controlplane may not include worker"),
    "controlplane/daemon/main.cpp": ('#include "worker/worker.h"\n', ""),
    "dataplane/ip/climb.cpp": ('#include "../tcp/impl.h"\n', "climb out"),
    "dataplane/tcp/dpdk.cpp": ("#include <rte_mbuf.h>\n", "rte_mbuf.h belongs to"),
    "dataplane/port/dpdk.cpp": ("#include <rte_mbuf.h>\n", ""),
    "dataplane/tls/wolf.cpp": ("#include <wolfssl/ssl.h>\n", "belongs to crypto, not tls"),
    "crypto/openssl.cpp": ("#include <openssl/ssl.h>\n", "belongs to tests"),
    "dataplane/http/socket.cpp": ("#include <sys/socket.h>\n", "http is sans-I/O"),
    "dataplane/call/clock.cpp": ("#include <thread>\n", "call is sans-I/O"),
    "dataplane/stray/new.cpp": ("", "no library owns this folder"),
}


def blind_spots(allowed):
    """What is not found among the examples, or found where nothing is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, (text, _) in EXAMPLES.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        _, problems = check_tree(root, allowed)
    wrong = []
    for path, (_, expected) in EXAMPLES.items():
        said = [p for p in problems if p.startswith(path)]
        if len(said) != bool(expected) or not all(expected in p for p in said):
            wrong.append(f"the lint itself: of {path} it says {said}, expected {expected!r}")
    return wrong


def main():
    allowed = {name: closure(name) for name in LIBRARIES}
    for name, may in allowed.items():
        if name in set().union(*(allowed[other] for other in may - {name}), set()):
            print(f"arrows form a circle through {name}")
            return 1
    count, problems = check_tree(ROOT, allowed)
    problems += blind_spots(allowed)
    for problem in problems:
        print(problem)
    print(f"{count} files, {len(problems)} problems")
    return 1 if problems or not count else 0


if __name__ == "__main__":
    sys.exit(main())
