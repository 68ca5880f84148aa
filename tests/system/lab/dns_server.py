#!/usr/bin/python3
"""A small DNS server over UDP (RFC 1035): dns_server.py ADDRESS PORT ZONE LOG.

ZONE is a JSON file read for every question, so that a test changes it while the server runs:
{"kb.example": {"A": ["198.18.2.2"], "AAAA": [], "ttl": 1}, "_kb._tcp.example": {"SRV":
[[priority, weight, port, "target"]]}, "other.example": {"rcode": 2}, "www.example": {"CNAME":
"kb.example"}, "*": "silent"}. Names that are not there do not exist. Questions go to LOG, one per
line.
"""

import json
import pathlib
import socket
import struct
import sys

NOERROR, FORMERR, NXDOMAIN, NOTIMP = 0, 1, 3, 4
TYPES = {1: "A", 5: "CNAME", 28: "AAAA", 33: "SRV"}
NUMBERS = {name: number for number, name in TYPES.items()}


def encode(name):
    parts = [p.encode() for p in name.rstrip(".").split(".") if p]
    return b"".join(bytes([len(p)]) + p for p in parts) + b"\0"


def decode(message, at):
    labels = []
    while message[at]:
        length = message[at]
        labels.append(message[at + 1:at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels).lower(), at + 1


def record(name, kind, ttl, data):
    return encode(name) + struct.pack("!HHIH", NUMBERS[kind], 1, ttl, len(data)) + data


def data_of(kind, value):
    if kind == "A":
        return socket.inet_aton(value)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, value)
    priority, weight, port, target = value
    return struct.pack("!HHH", priority, weight, port) + encode(target)


def answer(zone, name, kind):
    """(rcode, records) or None to keep silent."""
    if zone.get("*") == "silent":
        return None
    records = []
    entry = zone.get(name)
    while entry and "CNAME" in entry:
        records.append(record(name, "CNAME", entry.get("ttl", 60), encode(entry["CNAME"])))
        name = entry["CNAME"]
        entry = zone.get(name)
    if entry is None:
        return NXDOMAIN, records
    if entry.get("silent"):
        return None
    if "rcode" in entry:
        return entry["rcode"], []
    records += [record(name, kind, entry.get("ttl", 60), data_of(kind, v))
                for v in entry.get(kind, [])]
    return NOERROR, records


def reply(message, zone, log):
    number, flags, questions = struct.unpack("!HHH", message[:6])
    if flags & 0x8000 or questions != 1:
        return struct.pack("!HHHHHH", number, 0x8000 | FORMERR, 0, 0, 0, 0)
    name, at = decode(message, 12)
    kind = TYPES.get(struct.unpack("!H", message[at:at + 2])[0], "?")
    log.write(f"{name} {kind}\n")
    log.flush()
    found = answer(zone, name, kind) if kind != "?" else (NOTIMP, [])
    if found is None:
        return None
    rcode, records = found
    head = struct.pack("!HHHHHH", number, 0x8580 | rcode, 1, len(records), 0, 0)
    return head + message[12:at + 4] + b"".join(records)


def main():
    address, port, zone_file, log_file = sys.argv[1:5]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, \
            open(log_file, "a", encoding="ascii") as log:
        sock.bind((address, int(port)))
        while True:
            message, peer = sock.recvfrom(4096)
            zone = json.loads(pathlib.Path(zone_file).read_text(encoding="utf-8"))
            out = reply(message, zone, log)
            if out is not None:
                sock.sendto(out, peer)


if __name__ == "__main__":
    main()
