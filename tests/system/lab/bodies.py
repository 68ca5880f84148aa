"""Bodies in which no two blocks are the same: a byte at the wrong place changes the digest.

For the lab and for its stand-alone programs; nothing here but the standard library.
"""

import functools
import hashlib
import random
import struct

BLOCK = 1 << 18
_REST = random.Random(9293).randbytes(BLOCK - 8)


def body_of(length):
    """The body of that length, in blocks."""
    whole, rest = divmod(length, BLOCK)
    for number in range(whole):
        yield struct.pack("!Q", number) + _REST
    if rest:
        yield (struct.pack("!Q", whole) + _REST)[:rest]


@functools.lru_cache(maxsize=64)
def digest_of(length):
    hasher = hashlib.sha256()
    for block in body_of(length):
        hasher.update(block)
    return hasher.hexdigest()
