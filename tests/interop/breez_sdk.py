#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Devices of one wallet with the native Breez SDK sync their contacts through
the native port. No record may be missing on any device at the end.

Usage: breez_sdk.py PYTHON

PYTHON is one that has breez-sdk-spark. To be run in a network of its own, as
matrix.py does: the SDK reaches for services of its wallet as well, and nothing
but the server under test shall be asked.
"""
import contextlib
import fcntl
import json
import os
import pathlib
import queue
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'e2e/lib'))
sys.dont_write_bytecode = True

import matrix  # noqa: E402
import tap  # noqa: E402

PYTHON = sys.argv[1]
SECONDS = 30
POLL_SECONDS = 0.05
MANY = 300
# The SDK pushes all that waits before it pulls, and takes the revision of its
# last push for what it knows: two bursts must fit into the overlap rule.
BURST = 20
SIOCSIFFLAGS = 0x8914
IFF_UP = 1


def bring_loopback_up():
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS,
                    struct.pack('16sH14x', b'lo', IFF_UP))


class Device:
    """One installation of the wallet, a process with its own storage."""

    def __init__(self, url, account, directory):
        self.process = subprocess.Popen(
            [PYTHON, str(HERE / 'breez_device.py'), url, account, directory],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.outcomes = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.outcomes.put(json.loads(line))
        self.outcomes.put({'error': 'the device ended'})

    def order(self, *words):
        self.process.stdin.write(json.dumps(words) + '\n')
        self.process.stdin.flush()

    def result(self):
        outcome = self.outcomes.get(timeout=SECONDS)
        if 'error' in outcome:
            raise AssertionError(outcome['error'])
        return outcome['result']

    def do(self, *words):
        self.order(*words)
        return self.result()

    def end(self):
        """It disconnects."""
        self.process.stdin.close()
        code = self.process.wait(SECONDS)
        assert code == 0, f'a device ended with {code}'


class Wallet:
    """The devices of one account; those of another do not hear of it."""

    def __init__(self, url, account):
        self.url = url
        self.account = account
        self.stack = contextlib.ExitStack()
        self.devices = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for device in self.devices:
            device.process.kill()
            device.process.wait()
        self.stack.close()

    def join(self, count=1):
        """New devices; gives all that there are."""
        new = [Device(self.url, self.account, self.stack.enter_context(
            tempfile.TemporaryDirectory())) for _ in range(count)]
        self.devices += new
        for device in new:
            device.result()
        return self.devices

    def leave(self):
        while self.devices:
            self.devices.pop().end()

    def all_hold(self, names):
        """Every device comes to hold just these names."""
        expected = sorted(names)
        for at, device in enumerate(self.devices):
            deadline = time.monotonic() + SECONDS
            while (held := device.do('names')) != expected:
                if time.monotonic() > deadline:
                    missing = sorted(set(expected) - set(held))
                    raise AssertionError(
                        f'device {at} holds {len(held)} of {len(expected)}, '
                        f'it lacks {missing[:10]}')
                time.sleep(POLL_SECONDS)


def at_once(devices, orders):
    for device, order in zip(devices, orders):
        device.order(*order)
    return [device.result() for device in devices]


def two_case(wallet):
    one, other = wallet.join(2)
    contacts = []

    def added():
        contacts.append(one.do('add', 'ann'))
        wallet.all_hold(['ann'])
    tap.case('two devices: a contact that one adds, the other has', added)

    def renamed():
        other.do('rename', contacts[0], 'anna')
        wallet.all_hold(['anna'])
    tap.case('two devices: the other renames it', renamed)

    def removed():
        other.do('add', 'bob')
        one.do('remove', contacts[0])
        wallet.all_hold(['bob'])
    tap.case('two devices: the first removes it', removed)


def join_case(wallet):
    one, other = wallet.join(2)
    names = [f'contact {at}' for at in range(MANY)]
    contacts = []

    def added():
        contacts.extend(one.do('add', name) for name in names)
        wallet.all_hold(names)
    tap.case(f'{MANY} contacts that one adds, the other has', added)

    def changed():
        # Once each: what waits to be pushed with another change of the same
        # contact conflicts with it, and the SDK takes seconds over that.
        for at, contact in enumerate(contacts):
            if at % 3 == 1:
                names[at] = f'renamed {at}'
                one.do('rename', contact, names[at])
            elif at % 3 == 2:
                names[at] = None
                one.do('remove', contact)
        names[:] = filter(None, names)
        wallet.all_hold(names)
    tap.case('a third of them renamed, a third removed', changed)

    def joined():
        third = wallet.join()[-1]
        wallet.all_hold(names)
        for device, name in (third, 'of the third'), (other, 'of the other'):
            device.do('add', name)
            names.append(name)
            wallet.all_hold(names)
    tap.case('a third device joins and has them all', joined)


def together_case(wallet):
    devices = wallet.join(3)
    names = []

    def together():
        for turn in range(BURST):
            orders = [('add', f'{turn} of {at}') for at in range(3)]
            at_once(devices, orders)
            names.extend(name for _, name in orders)
        wallet.all_hold(names)
    tap.case('three devices add at the same time', together)

    def one_contact():
        shared = devices[0].do('add', 'shared')
        wallet.all_hold([*names, 'shared'])
        at_once(devices, [('rename', shared, f'by {at}') for at in range(3)])
        deadline = time.monotonic() + SECONDS
        while True:
            held = [device.do('names') for device in devices]
            if held[0] == held[1] == held[2] and 'shared' not in held[0]:
                break
            assert time.monotonic() < deadline, 'the devices do not agree'
            time.sleep(POLL_SECONDS)
        assert len(held[0]) == len(names) + 1, held[0]
        names[:] = held[0]
    tap.case('three devices rename one contact and agree', one_contact)
    tap.case('a fourth device has what they agreed on',
             lambda: wallet.join() and wallet.all_hold(names))


def restart_case(wallet, server):
    devices = wallet.join(2)
    names = ['before']

    def restarted():
        devices[0].do('add', 'before')
        wallet.all_hold(names)
        server.stop()
        for when in ('during', 'after'):
            for at, device in enumerate(devices):
                device.do('add', f'{when} {at}')
                names.append(f'{when} {at}')
            if when == 'during':
                server.start()
        wallet.all_hold(names)
    tap.case('devices that add while the server restarts lose nothing',
             restarted)


class Server:
    """It comes back where it was."""

    def __init__(self, directory):
        self.directory = directory
        self.address = '127.0.0.1:0'
        self.stack = contextlib.ExitStack()

    def start(self):
        self.address = self.stack.enter_context(matrix.tallyd(
            self.directory, GRPC_LISTEN_ADDRESS=self.address)).native

    def stop(self):
        self.stack.close()


def main():
    bring_loopback_up()
    cases = {'two': two_case, 'joining': join_case,
             'together': together_case,
             'restart': lambda wallet: restart_case(wallet, server)}
    with tempfile.TemporaryDirectory() as directory:
        server = Server(directory)
        server.start()
        with server.stack:
            for account, case in cases.items():
                with Wallet(f'http://{server.address}', account) as wallet:
                    case(wallet)
                    tap.case(f'the devices of {account} disconnect',
                             wallet.leave)
    tap.end()


if __name__ == '__main__':
    main()
