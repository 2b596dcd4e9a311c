# SPDX-License-Identifier: Apache-2.0
"""Ports of the loopback for servers of tests.

They are below those that the kernel gives to clients, of which tests have many.
Suites that run side by side have ports of their own (TEST_PORTS=FIRST-LAST, by
tests/run.py), and each is used once before any is used again: a client of a
server that is gone tries its port again and again, and would be found among
those of the next one."""
import contextlib
import itertools
import os
import random
import socket

FIRST, LAST = (int(end) for end in
               os.environ.get('TEST_PORTS', '10000-29999').split('-'))


def endlessly():
    begin = FIRST if 'TEST_PORTS' in os.environ else random.randint(FIRST,
                                                                   LAST)
    yield from itertools.cycle([*range(begin, LAST + 1),
                                *range(FIRST, begin)])


PORTS = endlessly()


def free_ports(count):
    """All are held before any is let go, so they differ."""
    ports = []
    with contextlib.ExitStack() as stack:
        while len(ports) < count:
            port = next(PORTS)
            probe = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(('127.0.0.1', port))
                ports.append(port)
    return ports


def free_port():
    return free_ports(1)[0]
