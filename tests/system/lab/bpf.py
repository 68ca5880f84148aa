"""Programs for tc's clsact, and their maps through the bpf() system call."""

import ctypes
import json
import os
import pathlib
import struct
import sysconfig

from .process import LabError, run

LOOKUP_ELEM, UPDATE_ELEM, PROG_BY_ID, MAP_BY_ID, OBJECT_INFO = 1, 2, 13, 14, 15
SYS_BPF = 321  # x86-64
_syscall = ctypes.CDLL(None, use_errno=True).syscall


def _bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 128)
    result = _syscall(SYS_BPF, command, buffer, 128)
    if result < 0:
        number = ctypes.get_errno()
        raise LabError(f"bpf command {command}: {os.strerror(number)}")
    return result


def compile_for_bpf(source, output, *definitions):
    include = f"/usr/include/{sysconfig.get_config_var('MULTIARCH')}"
    run("clang-19", "-O2", "-g", "-mcpu=v3", "-target", "bpf", f"-I{include}", *definitions, "-c",
        source, "-o", output)
    return pathlib.Path(output)


class Array:
    """The one map, an array of one element, of a program that tc holds."""

    def __init__(self, program_id, size):
        self.size = size
        program = _bpf(PROG_BY_ID, struct.pack("I", program_id))
        try:
            ids = (ctypes.c_uint32 * 1)()
            # struct bpf_prog_info up to map_ids.
            info = ctypes.create_string_buffer(struct.pack(
                "52xIQ", 1, ctypes.addressof(ids)), 256)
            _bpf(OBJECT_INFO, struct.pack("IIQ", program, 64, ctypes.addressof(info)))
        finally:
            os.close(program)
        self.map = _bpf(MAP_BY_ID, struct.pack("I", ids[0]))
        self.key = ctypes.c_uint32(0)

    def _element(self, command, value):
        _bpf(command, struct.pack("I4xQQQ", self.map, ctypes.addressof(self.key),
                                  ctypes.addressof(value), 0))

    def read(self):
        value = ctypes.create_string_buffer(self.size)
        self._element(LOOKUP_ELEM, value)
        return value.raw

    def write(self, data):
        self._element(UPDATE_ELEM, ctypes.create_string_buffer(data, self.size))

    def close(self):
        os.close(self.map)


def attach(namespace, device, direction, code, section):
    """Hangs the program on the device's "ingress" or "egress"; its id."""
    namespace.tc("filter", "add", "dev", device, direction, "bpf", "da", "obj", code, "sec",
                 section)
    shown = json.loads(namespace.tc("-j", "filter", "show", "dev", device, direction).stdout)
    return next(f["options"]["prog"]["id"] for f in shown if "prog" in f.get("options", {}))
