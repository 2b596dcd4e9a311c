# SPDX-License-Identifier: Apache-2.0
"""signing: secp256k1 in plain Python, independent of the node suites.

Slow and not constant-time: for tests only.
"""

import hashlib
import hmac
import secrets

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
     0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8)
ALPHABET = "ybndrfg8ejkmcpqxot1uwisza345h769"
PREFIX = b"realtimesync:"


def add(a, b):
    """Adds two points; None is the point at infinity."""
    if a is None:
        return b
    if b is None:
        return a
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, P) % P
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P) % P
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply(scalar, point):
    total = None
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def nonce(secret, digest):
    """RFC 6979 with HMAC-SHA-256."""
    key, value = b"\x00" * 32, b"\x01" * 32
    seed = secret.to_bytes(32, "big") + (
        int.from_bytes(digest, "big") % N).to_bytes(32, "big")
    for mark in (b"\x00", b"\x01"):
        key = hmac.digest(key, value + mark + seed, "sha256")
        value = hmac.digest(key, value, "sha256")
    while True:
        value = hmac.digest(key, value, "sha256")
        k = int.from_bytes(value, "big")
        if 0 < k < N:
            return k
        key = hmac.digest(key, value + b"\x00", "sha256")
        value = hmac.digest(key, value, "sha256")


def zbase32(data):
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    return "".join(ALPHABET[int(bits[at:at + 5], 2)]
                   for at in range(0, len(bits), 5))


def digest_of(text):
    once = hashlib.sha256(PREFIX + text.encode()).digest()
    return hashlib.sha256(once).digest()


def compressed(point):
    return bytes([2 + (point[1] & 1)]) + point[0].to_bytes(32, "big")


class Key:
    def __init__(self, secret=None):
        self.secret = secret or 1 + secrets.randbelow(N - 1)
        self.user_id = compressed(multiply(self.secret, G)).hex()

    def compact(self, digest):
        """65 bytes: header, r, s, with the smaller s."""
        k = nonce(self.secret, digest)
        x, y = multiply(k, G)
        r = x % N
        z = int.from_bytes(digest, "big")
        s = pow(k, -1, N) * (z + r * self.secret) % N
        recovery = (y & 1) | (2 if x >= N else 0)
        if s > N // 2:
            s, recovery = N - s, recovery ^ 1
        return bytes([31 + recovery]) + r.to_bytes(32, "big") + s.to_bytes(
            32, "big")

    def sign(self, text):
        return zbase32(self.compact(digest_of(text)))


def recover(digest, compact):
    """The user id a server must find in a signature."""
    recovery = compact[0] - 31
    r = int.from_bytes(compact[1:33], "big")
    s = int.from_bytes(compact[33:], "big")
    x = r + (N if recovery & 2 else 0)
    y = pow(x**3 + 7, (P + 1) // 4, P)
    if y & 1 != recovery & 1:
        y = P - y
    inverse = pow(r, -1, N)
    z = int.from_bytes(digest, "big")
    point = add(multiply(s * inverse % N, (x, y)),
                multiply(-z * inverse % N, G))
    return compressed(point).hex()
