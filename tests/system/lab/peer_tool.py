#!/usr/bin/python3
"""A tool of kernel sockets for tests of TCP: one connection per call, the path says what happens.

    GET  /body/N      200 with the body of N bytes (bodies.py), then FIN
    GET  /half/N      the same without Content-Length: FIN, then reads on until the gateway's
    PUT  /digest      200, JSON of length and sha256 of what came
    PUT  /slow/MS     the same, MS milliseconds between reads of 16 KiB

Of each connection one line goes to the log when it ended: {"call", "received", "end"}, where end is
"fin" or "reset".
"""

import argparse
import hashlib
import json
import socket
import threading
import time

from bodies import body_of


class Call:
    def __init__(self, sock):
        self.sock, self.start, self.received = sock, "", 0

    def head(self):
        """(fields, what came behind them); None when the connection ended before."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.sock.recv(65536)
            if not piece:
                return None, b""
            data += piece
        head, rest = data.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        self.start = lines[0]
        pairs = (line.partition(":") for line in lines[1:])
        return {name.lower(): value.strip() for name, _, value in pairs}, rest

    def digest(self, length, first, pause):
        hasher = hashlib.sha256(first)
        self.received = len(first)
        while self.received < length:
            piece = self.sock.recv(16384 if pause else 1 << 18)
            if not piece:
                break
            hasher.update(piece)
            self.received += len(piece)
            if pause:
                time.sleep(pause)
        return hasher.hexdigest()

    def serve(self):
        fields, rest = self.head()
        if fields is None:
            return "fin"
        method, path, _ = self.start.split(" ", 2)
        kind, _, argument = path.strip("/").partition("/")
        number = int(argument) if argument.isdigit() else 0
        if method == "GET":
            framing = "" if kind == "half" else f"Content-Length: {number}\r\n"
            self.sock.sendall(f"HTTP/1.1 200 OK\r\n{framing}Connection: close\r\n\r\n".encode())
            for block in body_of(number):
                self.sock.sendall(block)
        else:
            pause = number / 1000 if kind == "slow" else 0
            digest = self.digest(int(fields["content-length"]), rest, pause)
            text = json.dumps({"length": self.received, "sha256": digest})
            self.sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n"
                              f"Connection: close\r\n\r\n{text}".encode())
        self.sock.shutdown(socket.SHUT_WR)
        while piece := self.sock.recv(65536):
            self.received += len(piece)
        return "fin"


class Server:
    def __init__(self, log):
        self.log = open(log, "a", encoding="utf-8")  # pylint: disable=consider-using-with
        self.lock = threading.Lock()

    def handle(self, sock):
        call = Call(sock)
        try:
            with sock:
                end = call.serve()
        except OSError:
            end = "reset"
        with self.lock:
            self.log.write(json.dumps({"call": call.start, "received": call.received,
                                       "end": end}) + "\n")
            self.log.flush()

    def run(self, port, receive_buffer):
        listener = socket.socket(socket.AF_INET6)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:  # before listen(): the window scale of the SYN-ACK follows it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        listener.bind(("::", port))
        listener.listen(4096)
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=self.handle, args=(sock,), daemon=True).start()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("log")
    parser.add_argument("--receive-buffer", type=int)
    options = parser.parse_args()
    Server(options.log).run(options.port, options.receive_buffer)


if __name__ == "__main__":
    main()
