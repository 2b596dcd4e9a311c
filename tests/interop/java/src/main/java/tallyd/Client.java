// SPDX-License-Identifier: Apache-2.0
package tallyd;

import static tallyd.Tap.equal;
import static tallyd.Tap.refused;
import static tallyd.User.record;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptors;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.TlsChannelCredentials;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.okhttp.OkHttpChannelBuilder;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import sync.Sync;
import sync.SyncerGrpc;

/**
 * grpc-java against the server; matrix.py runs it. Prints TAP.
 *
 * <p>Usage: Client TRANSPORT VECTORS NATIVE TLS CA PID
 *
 * <p>TRANSPORT is `netty` or `okhttp`; VECTORS the file of signed examples.
 * NATIVE and TLS are the addresses of two servers, one of them with a
 * certificate of CA (a PEM file); PID is the process of the first, which the
 * last case ends.
 */
final class Client {
    private static final String INSTANCE =
            "11111111-1111-4111-8111-111111111111";
    private static final String RIVAL = "22222222-2222-4222-8222-222222222222";
    private static final int CALLS_AT_ONCE = 500;
    // The server allows 100 on one connection. Over Netty a call that had to
    // wait for one to end is not sent before the connection has something else
    // to send: nobody asks for the flush.
    private static final int STREAMS = 99;
    private static final byte[] DATA = {'d'};
    private static final byte[] EVERY_BYTE = new byte[256];
    private static final String SCHEMA = "0.1";

    static {
        for (int i = 0; i < EVERY_BYTE.length; i++) {
            EVERY_BYTE[i] = (byte) i;
        }
    }

    private final Tap tap = new Tap();
    private final String transport;
    private final List<ManagedChannel> channels = new ArrayList<>();

    private Client(String transport) {
        this.transport = transport;
    }

    /** Each has a connection of its own. */
    private Channel connect(String address, ChannelCredentials credentials) {
        ManagedChannel channel = (transport.equals("okhttp")
                ? OkHttpChannelBuilder.forTarget(address, credentials)
                : NettyChannelBuilder.forTarget(address, credentials)).build();
        channels.add(channel);
        return channel;
    }

    private static User userOf(Channel channel) {
        return new User(channel, Key.random());
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static void signing(String file) throws IOException {
        JsonObject root = JsonParser.parseString(
                Files.readString(Path.of(file))).getAsJsonObject();
        for (JsonElement element : root.getAsJsonArray("vectors")) {
            JsonObject vector = element.getAsJsonObject();
            Key key = new Key(new BigInteger(
                    vector.get("private_key").getAsString(), 16));
            equal(key.userId(), vector.get("user_id").getAsString());
            equal(key.sign(vector.get("text").getAsString()),
                    vector.get("signature").getAsString());
        }
        equal(root.getAsJsonArray("vectors").isEmpty(), false);
    }

    private static void create(User user) {
        Sync.SetRecordReply reply =
                user.setRecord(record("one", bytes("first"), 0, SCHEMA), null);
        equal(reply.getStatus(), Sync.SetRecordStatus.SUCCESS);
        equal(reply.getNewRevision(), 1L);
    }

    private static void conflict(User user) {
        Sync.SetRecordReply reply =
                user.setRecord(record("one", bytes("other"), 7, SCHEMA), null);
        equal(reply.getStatus(), Sync.SetRecordStatus.CONFLICT);
        equal(reply.getNewRevision(), 0L);
    }

    private static void listed(User user) {
        equal(user.listChanges(0), List.of(
                record("one", bytes("second"), 2, SCHEMA),
                record("schlüssel-ключ", EVERY_BYTE, 3, "1.2")));
        equal(user.listChanges(3), List.of());
    }

    private static void locks(User user, User stranger) {
        user.setLock("l", INSTANCE, true);
        equal(user.getLock("l"), true);
        equal(stranger.getLock("l"), false);
        refused(() -> user.setLock("l", RIVAL, true),
                Status.Code.FAILED_PRECONDITION,
                "lock held by another instance");
        user.setLock("l", INSTANCE, false);
        equal(user.getLock("l"), false);
    }

    private void unaryCases(User user, User stranger) {
        tap.run("SetRecord creates a record", () -> create(user));
        tap.run("SetRecord with a stale revision conflicts",
                () -> conflict(user));
        tap.run("SetRecord at its revision replaces", () -> equal(
                user.setRecord(record("one", bytes("second"), 1, SCHEMA), null)
                        .getNewRevision(), 2L));
        tap.run("SetRecord with an id beyond ASCII and binary data",
                () -> equal(user.setRecord(
                        record("schlüssel-ключ", EVERY_BYTE, 0, "1.2"), null)
                        .getNewRevision(), 3L));
        tap.run("ListChanges gives what was written", () -> listed(user));
        tap.run("ListChanges gives another user nothing",
                () -> equal(stranger.listChanges(0), List.of()));
        tap.run("SetLock and GetLock", () -> locks(user, stranger));
    }

    private static void unknownMethod(Channel channel) {
        refused(() -> ClientCalls.blockingUnaryCall(channel,
                SyncerGrpc.getGetLockMethod().toBuilder()
                        .setFullMethodName("sync.Syncer/Nothing").build(),
                CallOptions.DEFAULT, Sync.GetLockRequest.getDefaultInstance()),
                Status.Code.UNIMPLEMENTED, null);
    }

    private void refusalCases(User user, Channel channel) {
        tap.run("a bad signature is UNAUTHENTICATED", () -> refused(
                () -> user.getLock("l", User.now(), "y".repeat(104)),
                Status.Code.UNAUTHENTICATED, "invalid signature"));
        tap.run("an old time is INVALID_ARGUMENT", () -> refused(
                () -> user.setRecord(record("x", DATA, 0, SCHEMA), null, 1),
                Status.Code.INVALID_ARGUMENT,
                "request time too far from server time"));
        tap.run("an empty lock name is INVALID_ARGUMENT", () -> refused(
                () -> user.getLock(""), Status.Code.INVALID_ARGUMENT,
                "lock_name must not be empty"));
        tap.run("too much data is INVALID_ARGUMENT", () -> refused(
                () -> user.setRecord(
                        record("x", new byte[65537], 0, SCHEMA), null),
                Status.Code.INVALID_ARGUMENT,
                "record data exceeds maximum size of 65536 bytes"));
        tap.run("a message over the limit is RESOURCE_EXHAUSTED",
                () -> refused(() -> user.setRecord(
                        record("x", new byte[300_000], 0, SCHEMA), null),
                        Status.Code.RESOURCE_EXHAUSTED, null));
        tap.run("an unknown method is UNIMPLEMENTED",
                () -> unknownMethod(channel));
    }

    private static void told(User user, Listener... listeners)
            throws InterruptedException {
        user.setRecord(record("told", DATA, 0, SCHEMA), "java");
        for (Listener listener : listeners) {
            equal(listener.next(), "java");
        }
    }

    private static void unnamed(User user, Listener... listeners)
            throws InterruptedException {
        user.setRecord(record("unnamed", DATA, 0, SCHEMA), null);
        for (Listener listener : listeners) {
            equal(listener.next(), null);
        }
    }

    private static void cancelled(User user, Listener one, Listener other)
            throws InterruptedException {
        one.cancel();
        equal(one.end(), Status.Code.CANCELLED);
        user.setRecord(record("after", DATA, 0, SCHEMA), "after");
        equal(other.next(), "after");
    }

    private static void deadline(User user) throws InterruptedException {
        Listener listener = user.listen(500);
        equal(listener.next(), null);
        equal(listener.end(), Status.Code.DEADLINE_EXCEEDED);
    }

    private static void manyCancelled(User user) throws InterruptedException {
        for (int round = 0; round < 3; round++) {
            List<Listener> listeners = new ArrayList<>();
            for (int i = 0; i < STREAMS; i++) {
                listeners.add(user.listen());
            }
            listeners.forEach(Listener::cancel);
        }
    }

    /** The revision that one of many calls took. */
    private static long setOne(User user, int at) {
        return user.setRecord(record("" + at, DATA, 0, SCHEMA), null)
                .getNewRevision();
    }

    private static void manyAtOnce(User user) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(CALLS_AT_ONCE);
        List<Callable<Long>> calls = IntStream.range(0, CALLS_AT_ONCE)
                .<Callable<Long>>mapToObj(at -> () -> setOne(user, at))
                .toList();
        List<Long> revisions = new ArrayList<>();
        for (Future<Long> revision : pool.invokeAll(calls)) {
            revisions.add(revision.get());
        }
        pool.shutdown();
        revisions.sort(null);
        equal(revisions,
                LongStream.rangeClosed(1, CALLS_AT_ONCE).boxed().toList());
        equal(user.listChanges(0).size(), CALLS_AT_ONCE);
    }

    private static void compression(Channel plain)
            throws InterruptedException {
        AtomicReference<Metadata> headers = new AtomicReference<>();
        User user = userOf(ClientInterceptors.intercept(plain,
                MetadataUtils.newCaptureMetadataInterceptor(
                        headers, new AtomicReference<>()))).compressing();
        byte[] data = new byte[20_000];
        user.setRecord(record("zip", data, 0, SCHEMA), null);
        equal(user.listChanges(0),
                List.of(record("zip", data, 1, SCHEMA)));
        equal(headers.get().get(Metadata.Key.of("grpc-encoding",
                Metadata.ASCII_STRING_MARSHALLER)), "gzip");
        told(user, user.listen());
    }

    private void secure(String address, String ca) throws Exception {
        Channel channel = connect(address, TlsChannelCredentials.newBuilder()
                .trustManager(new File(ca)).build());
        User user = userOf(channel);
        Listener listener = user.listen();
        create(user);
        equal(listener.next(), null);
        told(user, listener);
        equal(user.listChanges(1).size(), 1);
        locks(user, userOf(channel));
    }

    private static void drained(String pid, Listener listener)
            throws InterruptedException {
        equal(ProcessHandle.of(Long.parseLong(pid)).map(ProcessHandle::destroy)
                .orElse(false), true);
        equal(listener.end(), Status.Code.UNAVAILABLE);
    }

    private void run(String address, String tls, String ca, String pid)
            throws InterruptedException {
        ChannelCredentials clear = InsecureChannelCredentials.create();
        Channel one = connect(address, clear);
        Key key = Key.random();
        User user = new User(one, key);
        User second = new User(connect(address, clear), key);
        unaryCases(user, userOf(one));
        refusalCases(user, one);

        Listener first = user.listen();
        Listener last = second.listen();
        tap.run("both hear of a change and whose it is",
                () -> told(user, first, last));
        tap.run("a change without a client id is told without one",
                () -> unnamed(user, first, last));
        tap.run("one cancels, the other hears on",
                () -> cancelled(user, first, last));
        tap.run("a listener's deadline ends it", () -> deadline(user));
        tap.run("cancelled listeners make room for others at once",
                () -> manyCancelled(user));
        tap.run("calls at once on one connection",
                () -> manyAtOnce(userOf(one)));
        tap.run("a channel that compresses with gzip", () -> compression(one));
        tap.run("all calls over TLS", () -> secure(tls, ca));
        tap.run("SIGTERM ends a listener with UNAVAILABLE",
                () -> drained(pid, last));
    }

    public static void main(String[] arguments) throws InterruptedException {
        Client client = new Client(arguments[0]);
        client.tap.run("the signing agrees with other implementations",
                () -> signing(arguments[1]));
        client.run(arguments[2], arguments[3], arguments[4], arguments[5]);
        client.channels.forEach(ManagedChannel::shutdownNow);
        System.exit(client.tap.end());
    }
}
