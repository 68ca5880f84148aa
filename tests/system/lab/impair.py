"""A bad link at a host's eth0: impair.bpf.c both ways, settings and counters in its map."""

import pathlib
import struct

from . import bpf

SOURCE = pathlib.Path(__file__).with_name("impair.bpf.c")
SETTINGS = ("seed", "all", "drop_per_million", "burst", "duplicate_per_million",
            "corrupt_per_million")
COUNTERS = ("segments", "payload", "dropped", "dropped_payload", "duplicated", "corrupted",
            "corrupted_payload")
LAYOUT = struct.Struct(f"={len(SETTINGS) + len(COUNTERS)}Q")


class Direction:
    def __init__(self, namespace, code, hook, section):
        self.array = bpf.Array(bpf.attach(namespace, "eth0", hook, code, section), LAYOUT.size)

    def set(self, **settings):
        """From now on; what is not named is off. Counters begin at zero."""
        unknown = set(settings) - set(SETTINGS)
        if unknown:
            raise ValueError(f"no such impairment: {unknown}")
        self.array.write(LAYOUT.pack(*(settings.get(name, 0) for name in SETTINGS),
                                     *(0 for _ in COUNTERS)))

    def counters(self):
        values = dict(zip(SETTINGS + COUNTERS, LAYOUT.unpack(self.array.read())))
        return {name: values[name] for name in COUNTERS}


class BadLink:
    """What the host receives passes `arriving`, what it sends `leaving`."""

    def __init__(self, namespace, folder):
        code = bpf.compile_for_bpf(SOURCE, pathlib.Path(folder) / "impair.o")
        namespace.tc("qdisc", "add", "dev", "eth0", "clsact")
        self.arriving = Direction(namespace, code, "ingress", "arrive")
        self.leaving = Direction(namespace, code, "egress", "leave")

    def set(self, **settings):
        self.arriving.set(**settings)
        self.leaving.set(**settings)

    def close(self):
        self.arriving.array.close()
        self.leaving.array.close()
