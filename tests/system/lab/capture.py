"""Captures at a peer's eth0, and tshark's judgement of them."""

import collections
import os
import pathlib
import signal
import socket

from .clients import inside
from .process import LabError, run, until

# What tshark can find in a segment; "tcp.analysis." before each.
ANALYSIS = ("retransmission", "fast_retransmission", "spurious_retransmission", "rto",
            "out_of_order", "lost_segment", "ack_lost_segment", "duplicate_ack", "reused_ports",
            "zero_window", "zero_window_probe", "window_full", "keep_alive")
REPEATS = {"retransmission", "fast_retransmission", "spurious_retransmission", "rto",
           "out_of_order"}
# On a path that loses nothing none of these happens; a full window may.
UNCLEAN = REPEATS | {"lost_segment", "ack_lost_segment", "duplicate_ack", "reused_ports"}
OPTIONS = ("timestamp.tsval", "sack_le")
FIELDS = ("frame.number", "frame.len", "eth.src", "tcp.stream", "tcp.seq", "tcp.len", "tcp.ack",
          "tcp.window_size", "tcp.flags.syn", "tcp.flags.reset",
          *(f"tcp.options.{name}" for name in OPTIONS), "tcp.checksum.status",
          "ip.checksum.status", "_ws.malformed", "_ws.expert.severity", "_ws.expert.message",
          *(f"tcp.analysis.{name}" for name in ANALYSIS))
WARNING = 0x600000  # Wireshark's PI_WARN
BAD = "0"
EXPECTED_WARNINGS = ("checksum", "previous segment", "acked unseen", "out-of-order",
                     "zero window", "zerowindow", "d-sack", "window is full", "window specified",
                     "connection reset")
ETHER_TYPE_MARK = 0x88b5  # IEEE 802: local experiments


class Capture:
    """TCP at the namespace's eth0 from construction to stop()."""

    def __init__(self, namespace, file):
        self.namespace, self.file = namespace, pathlib.Path(file)
        log = self.file.with_suffix(".log")
        log.unlink(missing_ok=True)
        self.process = namespace.start(
            "dumpcap", "-q", "-P", "-i", "eth0", "-B", "64", "-w", self.file, "-f",
            f"tcp or ether proto {ETHER_TYPE_MARK}", log=log)
        until(lambda: "File: " in self.process.output() or not self.process.alive(), 10,
              "dumpcap begins")

    def stop(self):
        """The file, with everything in it that passed before this call."""
        nonce = os.urandom(32)
        with inside(self.namespace):
            mark = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with mark:
            mark.bind(("eth0", 0))
            own = mark.getsockname()[4]
            mark.send(own + own + ETHER_TYPE_MARK.to_bytes(2, "big") + nonce)
        until(lambda: nonce in self._tail() or not self.process.alive(), 30,
              f"the capture is complete: {self.process.output()}", step=0.02)
        self.process.signal(signal.SIGINT)
        self.process.wait(10)
        return self.file

    def _tail(self):
        with open(self.file, "rb") as file:
            file.seek(max(0, self.file.stat().st_size - 65536))
            return file.read()

    def discard(self):
        self.process.kill()
        self.file.unlink(missing_ok=True)


class Direction:
    """What one side sent."""

    def __init__(self):
        self.segments = self.payload = self.resets = self.syns = 0
        self.largest_frame = 0
        self.retreats = 0  # windows whose right edge lay left of one offered before
        self.options = collections.Counter()  # segments with it, SYN and RST not counted
        self.found = collections.Counter()  # by name in ANALYSIS
        self.spurious_payload = 0
        self.examples = []
        self._ranges = collections.defaultdict(list)
        self._edges = {}

    def add(self, row):
        self.segments += 1
        length = int(row["tcp.len"] or 0)
        self.payload += length
        syn, reset = (row[f"tcp.flags.{name}"] in ("1", "True") for name in ("syn", "reset"))
        self.syns += syn
        self.resets += reset
        self.largest_frame = max(self.largest_frame, int(row["frame.len"]))
        if not syn and not reset:
            edge = int(row["tcp.ack"]) + int(row["tcp.window_size"])
            offered = self._edges.setdefault(row["tcp.stream"], edge)
            self.retreats += edge < offered
            self._edges[row["tcp.stream"]] = max(edge, offered)
            self.options.update(name for name in OPTIONS if row[f"tcp.options.{name}"])
        if length:
            begin = int(row["tcp.seq"])
            self._ranges[row["tcp.stream"]].append((begin, begin + length))
        for name in ANALYSIS:
            if row[f"tcp.analysis.{name}"]:
                self.found[name] += 1
                self._example(row, name)
        if row["tcp.analysis.spurious_retransmission"]:
            self.spurious_payload += length

    def _example(self, row, what):
        if len(self.examples) < 12:
            self.examples.append(f"frame {row['frame.number']} stream {row['tcp.stream']} "
                                 f"seq {row['tcp.seq']} len {row['tcp.len']}: {what}")

    @property
    def distinct(self):
        """Bytes of the streams that were sent at least once."""
        total = 0
        for ranges in self._ranges.values():
            reach = None
            for begin, end in sorted(ranges):
                if reach is None or begin > reach:
                    total, reach = total + end - begin, end
                elif end > reach:
                    total, reach = total + end - reach, end
        return total

    @property
    def repeated(self):
        """Payload bytes sent again."""
        return self.payload - self.distinct

    def unclean(self):
        return {name: n for name, n in self.found.items() if name in UNCLEAN}


class Verdict:
    """Both directions of a capture, as tshark sees them; `peer` is the host it was taken at."""

    def __init__(self, file, peer_mac, ports):
        self.gateway, self.peer = Direction(), Direction()
        self.defects = []  # wrong whatever the path does
        text = run("tshark", "-n", "-r", file, "-Y", "tcp", "-o", "tcp.check_checksum:TRUE", "-o",
                   "ip.check_checksum:TRUE", "-o", "tcp.desegment_tcp_streams:FALSE",
                   *(word for port in ports for word in ("-d", f"tcp.port=={port},data")), "-T",
                   "fields",
                   *(word for field in FIELDS for word in ("-e", field)), timeout=1200).stdout
        for line in text.splitlines():
            row = dict(zip(FIELDS, line.split("\t")))
            side = self.peer if row["eth.src"] == peer_mac else self.gateway
            side.add(row)
            self._look(row, "peer" if side is self.peer else "gateway")
        if not self.gateway.segments or not self.peer.segments:
            raise LabError(f"{file}: no segments")

    def _look(self, row, sender):
        wrong = []
        # The kernel in software writes 0xffff for a sum of 0: the same number, but tshark calls it
        # bad. The peer's checksums are not what is judged.
        for protocol in ("tcp", "ip") if sender == "gateway" else ():
            if row[f"{protocol}.checksum.status"] == BAD:
                wrong.append(f"bad {protocol} checksum")
        if row["_ws.malformed"]:
            wrong.append("malformed")
        severe = [int(s) for s in row["_ws.expert.severity"].split(",") if s]
        message = row["_ws.expert.message"]
        if severe and max(severe) >= WARNING and not any(
                words in message.lower() for words in EXPECTED_WARNINGS):
            wrong.append(message)
        if wrong and len(self.defects) < 20:
            self.defects.append(f"frame {row['frame.number']} from the {sender}: "
                                f"{', '.join(wrong)}")


def link_address(namespace):
    return namespace.run("cat", "/sys/class/net/eth0/address").stdout.strip()
