#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One device of a wallet with the native Breez SDK; breez_sdk.py orders it.

Usage: breez_device.py URL ACCOUNT DIRECTORY

URL is that of the sync server, ACCOUNT the passphrase that makes one wallet
of many, DIRECTORY the device's storage. A line of standard input is an order,
[NAME, ARGUMENT...] as JSON; a line of standard output its outcome,
{"result": ...} or {"error": ...}. The first line of output says that the
device has come to notice what is added.
"""
import asyncio
import json
import sys
import threading

import breez_sdk_spark as breez

MNEMONIC = 'abandon ' * 11 + 'about'
EVERY = 100000
SECONDS = 30
# It pulls when it connects, and again at the listener's greeting. From then on
# it notices what is added; what was added before, it would push only with the
# next.
PULLS = 2


class Pulls(breez.Logger):
    """Counts them in what the SDK logs."""

    def __init__(self):
        self.count = 0
        self.enough = threading.Event()

    def log(self, l):
        if l.line.startswith('real-time sync list_changes since'):
            self.count += 1
            if self.count >= PULLS:
                self.enough.set()


async def connect(url, account, directory):
    pulls = Pulls()
    breez.init_logging(None, pulls, None)
    config = breez.default_config(breez.Network.REGTEST)
    config.real_time_sync_server_url = url
    config.private_enabled_default = False
    seed = breez.Seed.MNEMONIC(mnemonic=MNEMONIC, passphrase=account)
    sdk = await breez.connect(breez.ConnectRequest(
        config=config, seed=seed, storage_dir=directory))
    if not await asyncio.to_thread(pulls.enough.wait, SECONDS):
        raise TimeoutError(f'pulled {pulls.count} times')
    return sdk


class Orders:
    def __init__(self, sdk):
        self.sdk = sdk

    async def add(self, name):
        contact = await self.sdk.add_contact(breez.AddContactRequest(
            name=name,
            payment_identifier=name.replace(' ', '-') + '@example.com'))
        return {'id': contact.id, 'at': contact.payment_identifier}

    async def rename(self, contact, name):
        await self.sdk.update_contact(breez.UpdateContactRequest(
            id=contact['id'], name=name, payment_identifier=contact['at']))

    async def remove(self, contact):
        await self.sdk.delete_contact(contact['id'])

    async def names(self):
        contacts = await self.sdk.list_contacts(
            breez.ListContactsRequest(offset=None, limit=EVERY))
        return sorted(contact.name for contact in contacts)


async def outcome(awaitable):
    try:
        return {'result': await awaitable}
    except Exception as error:  # pylint: disable=broad-except
        return {'error': f'{type(error).__name__}: {error}'}


def say(line):
    print(json.dumps(line), flush=True)


async def main():
    breez.uniffi_set_event_loop(asyncio.get_running_loop())
    sdk = await connect(*sys.argv[1:])
    orders = Orders(sdk)
    say({'result': None})
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, *arguments = json.loads(line)
        say(await outcome(getattr(orders, name)(*arguments)))
    await sdk.disconnect()


asyncio.run(main())
