"""HTTP/2 frame by frame: what no library sends."""

import itertools
import struct

import pytest

from lab.http2 import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM,
                       FRAME_SIZE_ERROR, GOAWAY, HEADERS, NO_ERROR, PADDED, PING, PRIORITY,
                       PROTOCOL_ERROR, RST_STREAM, SETTINGS, WINDOW_UPDATE, Connection, field, frame,
                       request)

pytestmark = [pytest.mark.asan, pytest.mark.two]
TOOL_HOST = "tool.tools.example"
INITIAL_WINDOW_SIZE = 4  # RFC 9113 section 6.5.2


def call(lab, path, stream=1, method="GET", flags=END_HEADERS | END_STREAM, **fields):
    return frame(HEADERS, flags, stream, request(path, TOOL_HOST, method, txn_token=lab.token, **fields))


def rapid_resets(lab):
    """CVE-2023-44487: streams opened and reset at once."""
    for stream in range(1, 40_000, 2):
        yield call(lab, "/bytes/1", stream) + frame(RST_STREAM, 0, stream, b"\0\0\0\x08")


def made_resets(lab):
    """CVE-2025-8671: streams the gateway has to reset itself."""
    for stream in range(1, 40_000, 2):
        yield call(lab, "/echo", stream, "POST", END_HEADERS) + \
            frame(WINDOW_UPDATE, 0, stream, b"\x7f\xff\xff\xff")


def repeated(piece, first=b""):
    return itertools.chain([first], itertools.repeat(piece * 50))


FLOODS = {
    "rapid reset": rapid_resets,
    "made you reset": made_resets,
    "ping": lambda lab: repeated(frame(PING, payload=b"pingpong")),
    "ping answers": lambda lab: repeated(frame(PING, ACK, payload=b"pingpong")),
    "settings": lambda lab: repeated(frame(SETTINGS, payload=b"\0\3\0\0\0\x64")),
    "empty settings": lambda lab: repeated(frame(SETTINGS)),
    "priority": lambda lab: repeated(frame(PRIORITY, 0, 1, bytes(5))),
    "unknown frames": lambda lab: repeated(frame(0x42, payload=b"x")),
    "window updates": lambda lab: repeated(frame(WINDOW_UPDATE, payload=b"\0\0\0\1")),
    "empty data": lambda lab: repeated(frame(DATA, 0, 1),
                                       call(lab, "/echo", 1, "POST", END_HEADERS)),
    "padded empty data": lambda lab: repeated(frame(DATA, PADDED, 1, b"\0"),
                                              call(lab, "/echo", 1, "POST", END_HEADERS)),
    "continuation without end": lambda lab: repeated(
        frame(CONTINUATION, 0, 1, field("x-a", "b")), call(lab, "/echo", flags=END_STREAM)),
    "long continuation without end": lambda lab: repeated(
        frame(CONTINUATION, 0, 1, field("x-a", "b" * 120) * 100),
        call(lab, "/echo", flags=END_STREAM)),
    "empty continuation": lambda lab: repeated(frame(CONTINUATION, 0, 1),
                                               call(lab, "/echo", flags=END_STREAM)),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_end_the_connection(lab, name):
    """The gateway says why, ends the connection, and is there for everybody else."""
    with Connection(lab) as connection:
        connection.flood(FLOODS[name](lab))
        assert connection.frames[-1].kind == GOAWAY, connection.frames[-5:]
        assert connection.frames[-1].goaway[1] == ENHANCE_YOUR_CALM, connection.frames[-1]
    assert lab.call("/bytes/1").status == 200


BROKEN = {
    "data on stream 0": (lambda lab: frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    "headers on an even stream": (lambda lab: call(lab, "/echo", 2), PROTOCOL_ERROR),
    "continuation out of nowhere": (lambda lab: frame(CONTINUATION, END_HEADERS, 1), PROTOCOL_ERROR),
    "another frame within headers": (lambda lab: call(lab, "/echo", flags=0) + frame(PING, 0, 0, bytes(8)),
                                     PROTOCOL_ERROR),
    "padding longer than the frame": (lambda lab: call(lab, "/echo", 1, "POST", END_HEADERS)
                                      + frame(DATA, PADDED, 1, b"\x05abc"), PROTOCOL_ERROR),
    "ping of seven bytes": (lambda lab: frame(PING, payload=b"pingpon"), FRAME_SIZE_ERROR),
    "settings of five bytes": (lambda lab: frame(SETTINGS, payload=bytes(5)), FRAME_SIZE_ERROR),
    "frame of 16385 bytes": (lambda lab: call(lab, "/echo", 1, "POST", END_HEADERS)
                             + frame(DATA, 0, 1, bytes(16385)), FRAME_SIZE_ERROR),
    "window of 2^31": (lambda lab: frame(WINDOW_UPDATE, payload=b"\x7f\xff\xff\xff"), 3),
    "bad header compression": (lambda lab: frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff"), 9),
}


@pytest.mark.parametrize("name", BROKEN)
def test_connection_errors_are_named(lab, name):
    """RFC 9113 section 5.4.1: GOAWAY with the code, then the end."""
    build, code = BROKEN[name]
    with Connection(lab) as connection:
        connection.flood([build(lab)])
        assert connection.frames[-1].kind == GOAWAY, connection.frames[-5:]
        assert connection.frames[-1].goaway[1] == code, connection.frames[-1]


def test_large_header_section(lab):
    """Within four times the limit it is read and answered: 431 (RFC 6585); the connection stays."""
    block = request("/echo", TOOL_HOST, txn_token=lab.token) + b"".join(
        field(f"x-fill-{i}", "y" * 1000) for i in range(90))
    pieces = [block[i:i + 16_384] for i in range(0, len(block), 16_384)]
    with Connection(lab) as connection:
        connection.send(frame(HEADERS, END_STREAM, 1, pieces[0]),
                        *(frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:-1]),
                        frame(CONTINUATION, END_HEADERS, 1, pieces[-1]))
        answer = connection.until(lambda f: f.kind == HEADERS)
        assert (answer.stream, answer.status) == (1, 431)
        connection.send(call(lab, "/bytes/3", 3))
        assert connection.until(lambda f: f.kind == DATA and f.stream == 3).payload == b"\0\1\2"


def test_upload_goes_on_after_its_answer(lab):
    """RFC 9113 section 8.1: the tool answers first; the rest of the upload is let in, and the
    connection is as good as before."""
    length, sent, windows = 2_000_000, 0, {0: 65_535, 1: 65_535}
    with Connection(lab) as connection:
        connection.send(call(lab, "/early-answer", 1, "POST", END_HEADERS,
                             content_length=str(length)))
        while sent < length:
            n = min(*windows.values(), 16_384, length - sent)
            if n > 0:
                sent += n
                windows = {stream: left - n for stream, left in windows.items()}
                connection.send(frame(DATA, END_STREAM if sent == length else 0, 1, b"e" * n))
                continue
            got = connection.read()
            assert got is not None and got.kind not in (RST_STREAM, GOAWAY), got
            if got.kind == WINDOW_UPDATE:
                windows[got.stream] += got.number
            elif got.kind == SETTINGS and not got.flags & ACK:
                settings = dict(struct.iter_unpack(">HI", got.payload))
                windows[1] += settings[INITIAL_WINDOW_SIZE] - 65_535
        connection.send(call(lab, "/bytes/3", 3))
        connection.until(lambda f: f.kind == DATA and f.stream == 3 and f.flags & END_STREAM)
        answer = [f for f in connection.frames if f.stream == 1]
        assert next(f.status for f in answer if f.kind == HEADERS) == 200
        assert b"".join(f.payload for f in answer if f.kind == DATA) == b"early\n"
        assert [f for f in answer if f.kind == RST_STREAM and f.number != NO_ERROR] == []
