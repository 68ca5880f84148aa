"""HTTP/2 frame by frame (RFC 9113), for agents that do what no library lets them."""

import select
import ssl
import struct
import time

from .clients import connect
from .process import LabError

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, \
    CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
NO_ERROR, PROTOCOL_ERROR, FRAME_SIZE_ERROR, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 6, 8, 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + \
        struct.pack(">I", stream) + payload


def field(name, value):
    """A literal field without indexing, its lengths below 127 (RFC 7541 section 6.2.2)."""
    name, value = name.encode(), value.encode()
    text = b"\0" + bytes([len(name)]) + name
    if len(value) < 127:
        return text + bytes([len(value)]) + value
    rest, length = len(value) - 127, b"\x7f"
    while rest >= 128:
        length, rest = length + bytes([rest & 127 | 128]), rest >> 7
    return text + length + bytes([rest]) + value


def request(path, host, method="GET", **fields):
    """The header block of a request."""
    names = {":method": method, ":scheme": "https", ":authority": host, ":path": path,
             **{k.replace("_", "-"): v for k, v in fields.items()}}
    return b"".join(field(name, value) for name, value in names.items())


STATUS_OF_INDEX = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}


def huffman_digits(data):
    """Three digits in the code of RFC 7541 appendix B: 0 to 2 in five bits, 3 to 9 in six."""
    bits, number = "".join(f"{byte:08b}" for byte in data), 0
    for _ in range(3):
        value = int(bits[:5], 2)
        if value > 2:
            value = int(bits[:6], 2) - 0x19 + 3
        bits, number = bits[5 if value <= 2 else 6:], number * 10 + value
    return number


class Frame:
    def __init__(self, kind, flags, stream, payload):
        self.kind, self.flags, self.stream, self.payload = kind, flags, stream, payload

    @property
    def number(self):
        """The error code of RST_STREAM, the increment of WINDOW_UPDATE."""
        return struct.unpack(">I", self.payload[:4])[0]

    @property
    def goaway(self):
        """(last stream, error code)."""
        return struct.unpack(">II", self.payload[:8])

    @property
    def status(self):
        """Of the first response on a connection: later ones may be in its dynamic table."""
        first, rest = self.payload[0], self.payload[1:]
        if first & 0x80:
            return STATUS_OF_INDEX[first & 0x7f]
        if first not in (0x08, 0x18, 0x48) or rest[0] not in (3, 0x82, 0x83):
            raise LabError(f"no status in {self}")
        return int(rest[1:4]) if rest[0] == 3 else huffman_digits(rest[1:1 + (rest[0] & 0x7f)])

    def __repr__(self):
        return f"<{self.kind} {self.flags:#x} {self.stream} {self.payload[:40]!r}>"


class Connection:
    """A connection after its preface; frames are sent and read one by one."""

    def __init__(self, lab, settings=b""):
        self.sock = connect(lab.network, ca=lab.authority.ca, alpn=("h2",))
        self.sock.sendall(PREFACE + frame(SETTINGS, payload=settings))
        self.buffer = b""
        self.frames = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, *frames):
        self.sock.sendall(b"".join(frames))

    def read(self):
        """The next frame; None at the end of the connection."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + self._length():
            piece = self.sock.recv(65536)
            if not piece:
                if self.buffer:
                    raise LabError(f"the connection ended within a frame: {self.buffer!r}")
                return None
            self.buffer += piece
        end = 9 + self._length()
        made = Frame(self.buffer[3], self.buffer[4],
                     struct.unpack(">I", self.buffer[5:9])[0] & 0x7fffffff, self.buffer[9:end])
        self.buffer = self.buffer[end:]
        self.frames.append(made)
        return made

    def _length(self):
        return int.from_bytes(self.buffer[:3], "big")

    def until(self, wanted):
        """Reads until a frame for which `wanted` holds; that frame. An end instead is an error."""
        while (got := self.read()) is not None:
            if wanted(got):
                return got
            if got.kind in (RST_STREAM, GOAWAY):
                break
        raise LabError(f"the connection ended before; seen: {self.frames}")

    def flood(self, pieces, deadline=20):
        """Sends the pieces as fast as the gateway takes them, reading meanwhile, until it ends the
        connection: then how ("fin" or "reset"). What it said is in `frames`."""
        self.sock.setblocking(False)
        pieces, waiting, end = iter(pieces), b"", time.monotonic() + deadline
        while time.monotonic() < end:
            try:
                while piece := self.sock.recv(65536):
                    self.buffer += piece
                return self._ended("fin")
            except ssl.SSLWantReadError:
                pass
            except OSError:
                return self._ended("reset")
            waiting = waiting or next(pieces, b"")
            try:
                if waiting:
                    waiting = waiting[self.sock.send(waiting):]
                    continue
            except ssl.SSLWantWriteError:
                pass
            except OSError:
                waiting, pieces = b"", iter(())
            select.select([self.sock], [self.sock] if waiting else [], [], 0.02)
        raise LabError(f"still open after {deadline} s; seen: {self.frames[-5:]}")

    def _ended(self, how):
        while len(self.buffer) >= 9 and len(self.buffer) >= 9 + self._length():
            self.read()
        return how
