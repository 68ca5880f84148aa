#!/usr/bin/python3
"""A tool that behaves as the path says. One thread per connection, plain sockets.

    /echo          200, JSON of what it received (headers, trailers, body length and sha256)
    /bytes/N       200, N bytes of the pattern, with Content-Length
    /chunked/N     200, N bytes in chunks of 1000, with a trailer
    /close/N       200, N bytes, length given by the end of the connection
    /hang          reads the request and never answers
    /hang-body     header section and 10 of 1000 bytes, then nothing
    /reset         RST after the request
    /reset-body    header section, 1000 of 100000 bytes, RST
    /cut-body      header section, 1000 of 100000 bytes, FIN
    /trickle/N     N bytes, one every 20 ms
    /fin-after     200, then closes the connection without having said so
    /status/N      that status; 1xx is followed by 200
    /early         100 Continue, 103 Early Hints, then 200
    /bad/…         not HTTP: /bad/version /bad/length /bad/header /bad/garbage /bad/chunk
    /big-headers   200 with 200 KB of header fields
    /drain         reads the body one KiB every 5 ms, then 200 with its sha256
    /refuse-body   answers 413 at once and closes without reading the body
    /early-answer  answers 200 before the body was read, then reads it
"""

import hashlib
import json
import socket
import struct
import sys
import threading
import time

PATTERN = bytes(range(256)) * 4096


def body_of(length):
    whole, rest = divmod(length, len(PATTERN))
    for _ in range(whole):
        yield PATTERN
    yield PATTERN[:rest]


class Gone(Exception):
    pass


class Connection:
    def __init__(self, sock, log, number):
        self.sock, self.log, self.number = sock, log, number
        self.buffer, self.trailers = b"", []

    def fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise Gone
        self.buffer += data

    def line(self):
        while b"\r\n" not in self.buffer:
            self.fill()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def exactly(self, length, pace=None):
        while length > 0:
            if not self.buffer:
                self.fill()
            take = min(length, len(self.buffer), 16384 if pace else len(self.buffer))
            piece, self.buffer = self.buffer[:take], self.buffer[take:]
            length -= take
            if pace:
                time.sleep(pace)
            yield piece

    def chunks(self, pace=None):
        while True:
            size = int(self.line().split(b";")[0], 16)
            if size == 0:
                self.trailers = self.fields()
                return
            yield from self.exactly(size, pace)
            self.line()

    def fields(self):
        fields = []
        while line := self.line().decode("latin-1"):
            name, _, value = line.partition(":")
            fields.append((name, value.strip()))
        return fields

    def head(self):
        return self.line().decode("latin-1"), self.fields()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        raise Gone

    def send(self, data):
        self.sock.sendall(data)

    def answer(self, status, body, *fields, head_only=False):
        text = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n"
        text += "".join(f"{f}\r\n" for f in fields) + "\r\n"
        self.send(text.encode("latin-1") + (b"" if head_only else body))

    def serve(self):
        while True:
            start, fields = self.head()
            method, path, _ = start.split(" ", 2)
            lower = {n.lower(): v for n, v in fields}
            self.log.write({"connection": self.number, "start": start, "fields": fields})
            self.respond(method, path.split("?")[0], lower, fields)

    def body(self, lower, pace=None):
        if "chunked" in lower.get("transfer-encoding", ""):
            return self.chunks(pace)
        return self.exactly(int(lower.get("content-length", "0")), pace)

    def digest(self, lower, pace=None):
        if lower.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        hasher, length, self.trailers = hashlib.sha256(), 0, []
        for piece in self.body(lower, pace):
            hasher.update(piece)
            length += len(piece)
        return hasher.hexdigest(), length

    def respond(self, method, path, lower, fields):
        name, _, argument = path.strip("/").partition("/")
        number = int(argument) if argument.isdigit() else 0
        head_only = method == "HEAD"
        if name == "refuse-body":
            self.answer(413, b"too big\n", "Connection: close")
            self.sock.close()
            raise Gone
        if name == "early-answer":
            self.answer(200, b"early\n")
            self.digest(lower)
            return
        digest, length = self.digest(lower, 0.002 if name == "drain" else None)
        seen = json.dumps({"method": method, "path": path, "fields": fields, "length": length,
                           "sha256": digest, "connection": self.number,
                           "trailers": self.trailers}).encode()
        if name in ("echo", "drain"):
            self.answer(200, seen, "Content-Type: application/json", head_only=head_only)
        elif name == "bytes":
            self.send(f"HTTP/1.1 200 OK\r\nContent-Length: {number}\r\n\r\n".encode())
            if not head_only:
                for piece in body_of(number):
                    self.send(piece)
        elif name == "chunked":
            self.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n")
            data = b"".join(body_of(number))
            for i in range(0, number, 1000):
                piece = data[i:i + 1000]
                self.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.send(b"0\r\nX-End: yes\r\n\r\n")
        elif name == "close":
            self.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            for piece in body_of(number):
                self.send(piece)
            self.sock.close()
            raise Gone
        elif name == "hang":
            while True:
                self.fill()
        elif name == "hang-body":
            self.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
            while True:
                self.fill()
        elif name == "reset":
            self.reset()
        elif name in ("reset-body", "cut-body"):
            self.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
            time.sleep(0.1)  # the gateway has what was sent before the connection ends
            if name == "reset-body":
                self.reset()
            self.sock.close()
            raise Gone
        elif name == "trickle":
            self.send(f"HTTP/1.1 200 OK\r\nContent-Length: {number}\r\n\r\n".encode())
            for piece in body_of(number):
                for byte in piece:
                    self.send(bytes([byte]))
                    time.sleep(0.02)
        elif name == "fin-after":
            self.answer(200, b"bye\n")
            self.sock.close()
            raise Gone
        elif name == "status":
            if 100 <= number < 200:
                self.send(f"HTTP/1.1 {number} X\r\n\r\n".encode())
                self.answer(200, b"final\n")
            elif number in (204, 304):
                self.send(f"HTTP/1.1 {number} X\r\nX-Tool: yes\r\n\r\n".encode())
            else:
                self.answer(number, b"status\n", head_only=head_only)
        elif name == "early":
            self.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            self.answer(200, b"hints\n")
        elif name == "bad":
            shapes = {"version": b"HTTP/3.7 200 OK\r\nContent-Length: 0\r\n\r\n",
                      "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
                      "header": b"HTTP/1.1 200 OK\r\nBad Name : x\r\nContent-Length: 0\r\n\r\n",
                      "garbage": b"\x00\x01\x02 no http at all\r\n\r\n",
                      "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n"}
            self.send(shapes[argument])
            self.sock.shutdown(socket.SHUT_WR)
            while True:
                self.fill()
        elif name == "big-headers":
            filler = "".join(f"X-Fill-{i}: {'y' * 1000}\r\n" for i in range(200))
            self.send(f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{filler}\r\n".encode())
        else:
            self.answer(404, b"no such behaviour\n")


class Log:
    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8")  # pylint: disable=consider-using-with
        self.lock = threading.Lock()

    def write(self, record):
        with self.lock:
            self.file.write(json.dumps(record) + "\n")
            self.file.flush()


def handle(sock, log, number):
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Connection(sock, log, number).serve()
    except (Gone, OSError, ValueError):
        pass
    finally:
        sock.close()


def main():
    listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, backlog=1024,
                                    dualstack_ipv6=True)
    log, number = Log(sys.argv[2]), 0
    while True:
        sock, _ = listener.accept()
        number += 1
        threading.Thread(target=handle, args=(sock, log, number), daemon=True).start()


if __name__ == "__main__":
    main()
