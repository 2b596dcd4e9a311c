#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""python_client: grpcio against the server, with a signing of its own."""

import importlib
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import grpc

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE / "lib"), str(ROOT / "tests/lib")]
sys.dont_write_bytecode = True

from signing import Key, digest_of, recover  # noqa: E402
import postgres  # noqa: E402
import tap  # noqa: E402
from ports import free_port  # noqa: E402

SECONDS = 10
START_SECONDS = 20
INSTANCE = "11111111-1111-4111-8111-111111111111"
RIVAL = "22222222-2222-4222-8222-222222222222"

# Texts, keys and signatures made by another implementation (RFC 6979).
VECTORS = [
    ("a1-6461746131-0-0.0.1-1700000000",
     0x7722F7F4A15EE032F6BF3ED99BFF2A90FE452711D3DDBDC3C40D7645FF5D1654,
     "032f5a413bb18c53a2700a1b17f66cd28a75136f10f8a0b238ef10bcb24c2f1c2b",
     "rde767kxihwccjyes3t6hin9ki6ianuoa9wd8mjrze1sui1qmhhxndywr5iqga1u675fx5"
     "z9ig3uyo6t8qj6yr9nhtimft4kcgkzd9gf"),
    ("sync-1700000000",
     0xB42657ADBF125A5FF3183E2EE27B47B73B6BD864D3E90A8FEA257AB2E58B59F2,
     "0371e6c01d24ed67d3fe9da8e54b29bffdc7a672840dc6e6ff829a39ce8e6bfb81",
     "rd8yusat8fbk5t1iigi4n6hknnqpy1a74oj9bxezsagz9x7wcuriy4wojjeqyfq5bgbnhz"
     "pn3pqrjhcc1h4tep76rb74uhp1zhtghjqc"),
    ("payment:ключ-1-00ff0102-18446744073709551615-1.2.3-beta-4294967295",
     0x9718000DA45F794A01990CCFB334A206A0132A1209510A735904D2169D21E5DA,
     "02872dcb0a98961e6a176f2d4618c9452412e0b18c0f72f918110ae16b5c74275d",
     "d7x8strgj4on4i77qu8re9aeew48wwjt69amc4qo7ry8poje8jps46i6wqxqfxtuwfr7p3"
     "mranztumqm3xzdcz147dadi4bbtaeu3mpz"),
]


class Server:
    """One process on the store that `store` names in its environment; ended
    with this one."""

    def __init__(self, store):
        self.address = f"127.0.0.1:{free_port()}"
        binary = ROOT / os.environ.get("TALLYD", "build/tallyd")
        command = [str(binary)]
        if os.path.exists("/usr/bin/setpriv"):
            command = ["/usr/bin/setpriv", "--pdeathsig", "KILL"] + command
        self.lines = []
        self.serves = False
        self.ready = threading.Event()
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, errors="replace",
            env={**os.environ,
                 "GRPC_LISTEN_ADDRESS": self.address,
                 "GRPC_WEB_LISTEN_ADDRESS": f"127.0.0.1:{free_port()}",
                 "METRICS_LISTEN_ADDRESS": "off",
                 **store})
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            self.lines.append(line)
            if "Server listening at" in line:
                self.serves = True
                self.ready.set()
        self.ready.set()

    def wait(self):
        """Until it serves; a server that ended settles it, too."""
        self.ready.wait(START_SECONDS)
        if not self.serves:
            raise RuntimeError("no server:\n" + "".join(self.lines[-20:]))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def messages(directory):
    """The generated classes of sync.proto, made here and now."""
    subprocess.run(
        ["protoc", f"--proto_path={ROOT / 'proto'}",
         f"--python_out={directory}", "sync.proto"], check=True)
    sys.path.insert(0, directory)
    return importlib.import_module("sync_pb2")


class User:
    """One account on one channel."""

    def __init__(self, pb, channel, key):
        self.key = key
        self.pb = pb

        def unary(name, reply):
            return channel.unary_unary(
                f"/sync.Syncer/{name}",
                request_serializer=lambda m: m.SerializeToString(),
                response_deserializer=reply.FromString)
        self.rpc = {
            "SetRecord": unary("SetRecord", pb.SetRecordReply),
            "ListChanges": unary("ListChanges", pb.ListChangesReply),
            "SetLock": unary("SetLock", pb.SetLockReply),
            "GetLock": unary("GetLock", pb.GetLockReply),
        }
        self.stream = channel.unary_stream(
            "/sync.Syncer/ListenChanges",
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=pb.Notification.FromString)

    def call(self, name, request, text, **changes):
        request.signature = changes.get("signature", self.key.sign(text))
        return self.rpc[name](request, timeout=SECONDS)

    def set_record(self, id, data=b"d", revision=0, schema="0.1",
                   client_id=None, at=None, **changes):
        at = int(time.time()) if at is None else at
        request = self.pb.SetRecordRequest(
            record=self.pb.Record(id=id, data=data, revision=revision,
                                  schema_version=schema), request_time=at)
        if client_id is not None:
            request.client_id = client_id
        text = f"{id}-{data.hex()}-{revision}-{schema}-{at}"
        return self.call("SetRecord", request, text, **changes)

    def list_changes(self, since=0):
        at = int(time.time())
        request = self.pb.ListChangesRequest(
            since_revision=since, request_time=at)
        return list(self.call(
            "ListChanges", request, f"{since}-{at}").changes)

    def set_lock(self, name, instance, acquire=True, exclusive=True, ttl=None):
        at = int(time.time())
        request = self.pb.SetLockRequest(
            lock_name=name, instance_id=instance, acquire=acquire,
            exclusive=exclusive, request_time=at)
        if ttl is not None:
            request.ttl_seconds = ttl
        words = [name, instance, str(acquire).lower(), str(exclusive).lower(),
                 str(at)]
        return self.call("SetLock", request, "-".join(words))

    def get_lock(self, name, **changes):
        at = int(time.time())
        request = self.pb.GetLockRequest(lock_name=name, request_time=at)
        return self.call("GetLock", request, f"{name}-{at}", **changes).locked

    def listen(self, timeout=60):
        at = int(time.time())
        return Listener(self.stream(self.pb.ListenChangesRequest(
            request_time=at, signature=self.key.sign(str(at))),
            timeout=timeout))


class Listener:
    """A stream read by a thread into a queue; the end is in it, too."""

    def __init__(self, stream):
        self.stream = stream
        self.events = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            for notification in self.stream:
                self.events.put(notification)
            self.events.put(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            self.events.put(error.code())

    def next(self, seconds=5):
        return self.events.get(timeout=seconds)

    def end(self):
        """The status it ends with, after whatever it still hears."""
        while True:
            event = self.next()
            if isinstance(event, grpc.StatusCode):
                return event


def equal(actual, expected):
    if actual != expected:
        raise AssertionError(f"{actual!r}, expected {expected!r}")


def refused(call, code, details=None):
    try:
        call()
    except grpc.RpcError as error:
        equal(error.code(), code)
        if details is not None:
            equal(error.details(), details)
        return
    raise AssertionError("it was not refused")


def signing_cases():
    for text, secret, user_id, signature in VECTORS:
        def body():
            key = Key(secret)
            equal(key.user_id, user_id)
            equal(key.sign(text), signature)
            digest = digest_of(text)
            equal(recover(digest, key.compact(digest)), user_id)
        tap.case(f"the signing agrees on '{text[:15]}'", body)


def unary_cases(pb, user, stranger):
    def create():
        reply = user.set_record("one", b"first")
        equal((reply.status, reply.new_revision), (pb.SUCCESS, 1))
    tap.case("SetRecord creates a record", create)

    def conflict():
        reply = user.set_record("one", b"other", revision=7)
        equal((reply.status, reply.new_revision), (pb.CONFLICT, 0))
    tap.case("SetRecord with a stale revision conflicts", conflict)

    def update():
        equal(user.set_record("one", b"second", revision=1).new_revision, 2)
    tap.case("SetRecord at its revision replaces", update)

    def unicode_id():
        equal(user.set_record("schlüssel-ключ", bytes(range(256)),
                              schema="1.2").new_revision, 3)
    tap.case("SetRecord with an id beyond ASCII and binary data", unicode_id)

    def listed():
        equal([(r.id, r.revision, r.data, r.schema_version)
               for r in user.list_changes()],
              [("one", 2, b"second", "0.1"),
               ("schlüssel-ключ", 3, bytes(range(256)), "1.2")])
        equal(user.list_changes(3), [])
    tap.case("ListChanges gives what was written", listed)
    tap.case("ListChanges gives another user nothing",
             lambda: equal(stranger.list_changes(), []))

    def locks():
        user.set_lock("l", INSTANCE)
        equal(user.get_lock("l"), True)
        equal(stranger.get_lock("l"), False)
        refused(lambda: user.set_lock("l", RIVAL),
                grpc.StatusCode.FAILED_PRECONDITION,
                "lock held by another instance")
        user.set_lock("l", INSTANCE, acquire=False)
        equal(user.get_lock("l"), False)
    tap.case("SetLock and GetLock", locks)


def refusal_cases(user):
    tap.case("a bad signature is UNAUTHENTICATED", lambda: refused(
        lambda: user.get_lock("l", signature="y" * 104),
        grpc.StatusCode.UNAUTHENTICATED, "invalid signature"))
    tap.case("an old time is INVALID_ARGUMENT", lambda: refused(
        lambda: user.set_record("x", at=1),
        grpc.StatusCode.INVALID_ARGUMENT,
        "request time too far from server time"))
    tap.case("an empty lock name is INVALID_ARGUMENT", lambda: refused(
        lambda: user.get_lock(""), grpc.StatusCode.INVALID_ARGUMENT,
        "lock_name must not be empty"))
    tap.case("too much data is INVALID_ARGUMENT", lambda: refused(
        lambda: user.set_record("x", bytes(65537)),
        grpc.StatusCode.INVALID_ARGUMENT,
        "record data exceeds maximum size of 65536 bytes"))


def streaming_cases(user, second):
    listeners = [user.listen(), second.listen()]

    def greeting():
        for listener in listeners:
            equal(listener.next().HasField("client_id"), False)
    tap.case("two clients are greeted", greeting)

    def told():
        user.set_record("told", client_id="python")
        for listener in listeners:
            notification = listener.next()
            equal((notification.HasField("client_id"),
                   notification.client_id), (True, "python"))
    tap.case("both hear of a change and whose it is", told)

    def unnamed():
        user.set_record("unnamed")
        for listener in listeners:
            equal(listener.next().HasField("client_id"), False)
    tap.case("a change without a client id is told without one", unnamed)

    def cancelled():
        listeners[0].stream.cancel()
        equal(listeners[0].next(), grpc.StatusCode.CANCELLED)
        user.set_record("after", client_id="after")
        equal(listeners[1].next().client_id, "after")
    tap.case("one cancels, the other hears on", cancelled)
    tap.case("a listener's deadline ends it", lambda: deadline(user))
    return listeners[1]


def deadline(user):
    listener = user.listen(timeout=0.5)
    equal(listener.next().HasField("client_id"), False)
    equal(listener.next(), grpc.StatusCode.DEADLINE_EXCEEDED)


def compression_case(pb, address, key):
    def body():
        with grpc.insecure_channel(
                address, compression=grpc.Compression.Gzip) as channel:
            user = User(pb, channel, key)
            user.set_record("zip", bytes(20000))
            equal(user.list_changes()[-1].data, bytes(20000))
    tap.case("a channel that compresses with gzip", body)


def run(directory, store):
    signing_cases()
    pb = messages(directory)
    server = Server(store)
    try:
        server.wait()
        key = Key()
        one = grpc.insecure_channel(server.address)
        # Another option makes another connection, not a shared one.
        two = grpc.insecure_channel(
            server.address, options=[("grpc.use_local_subchannel_pool", 1)])
        user = User(pb, one, key)
        unary_cases(pb, user, User(pb, one, Key()))
        refusal_cases(user)
        last = streaming_cases(user, User(pb, two, key))
        compression_case(pb, server.address, key)

        def drained():
            equal(server.stop(), 0)
            equal(last.end(), grpc.StatusCode.UNAVAILABLE)
        tap.case("SIGTERM ends a listener with UNAVAILABLE, exit code 0",
                 drained)
        one.close()
        two.close()
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def main():
    directory = tempfile.mkdtemp(prefix="tallyd-e2e-")
    name = "the suite runs to its end"
    try:
        if os.environ.get("E2E_STORE") == "postgres":
            with postgres.database() as url:
                tap.case(name, lambda: run(directory, {"DATABASE_URL": url}))
        else:
            tap.case(name, lambda: run(directory, {
                "SQLITE_DIR_PATH": os.path.join(directory, "db")}))
    except postgres.Missing as missing:
        tap.skip(name, missing)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    tap.end()


if __name__ == "__main__":
    main()
