"""Random mutations of bytes, like those of faulty networks or disks, or of attackers."""

import random
import struct

LENGTHS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """The content with some bytes changed, inserted, repeated or removed.

    Some changes write a number that is extreme as a length.
    """
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(damaged) + 1)
        match chance.randrange(7):
            case 0 if damaged:
                damaged[at % len(damaged)] ^= 1 << chance.randrange(8)
            case 1 if damaged:
                damaged[at % len(damaged)] = chance.randrange(256)
            case 2:
                damaged[at : at + 4] = struct.pack("<I", chance.choice(LENGTHS) & 0xFFFFFFFF)
            case 3:
                damaged[at : at + 8] = struct.pack("<Q", chance.choice(LENGTHS))
            case 4:
                del damaged[at : at + chance.choice((1, 2, 8, 100))]
            case 5:
                damaged[at:at] = damaged[at : at + chance.choice((1, 8, 64))]
            case _:
                damaged[at:at] = chance.choice((b"\x00", b"\xff", b'"', b"[", b"{", b",", b"1e999"))
    return bytes(damaged)
