// SPDX-License-Identifier: Apache-2.0
package tallyd;

import com.google.protobuf.ByteString;
import io.grpc.Channel;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.TimeUnit;
import sync.Sync;
import sync.SyncerGrpc;

/** One account on one channel. */
final class User {
    private static final int CALL_SECONDS = 10;
    private static final int LISTEN_SECONDS = 60;

    private final Channel channel;
    private final Key key;
    private final String compressor;

    private User(Channel channel, Key key, String compressor) {
        this.channel = channel;
        this.key = key;
        this.compressor = compressor;
    }

    User(Channel channel, Key key) {
        this(channel, key, null);
    }

    User compressing() {
        return new User(channel, key, "gzip");
    }

    static int now() {
        return (int) (System.currentTimeMillis() / 1000);
    }

    static Sync.Record record(String id, byte[] data, long revision,
            String schema) {
        return Sync.Record.newBuilder().setId(id).setRevision(revision)
                .setData(ByteString.copyFrom(data)).setSchemaVersion(schema)
                .build();
    }

    private SyncerGrpc.SyncerBlockingStub stub() {
        return SyncerGrpc.newBlockingStub(channel)
                .withCompression(compressor)
                .withDeadlineAfter(CALL_SECONDS, TimeUnit.SECONDS);
    }

    private Sync.SetRecordRequest request(Sync.Record record, String clientId,
            int time) {
        String text = record.getId() + "-"
                + HexFormat.of().formatHex(record.getData().toByteArray())
                + "-" + Long.toUnsignedString(record.getRevision()) + "-"
                + record.getSchemaVersion() + "-" + time;
        Sync.SetRecordRequest.Builder request =
                Sync.SetRecordRequest.newBuilder().setRecord(record)
                        .setRequestTime(time).setSignature(key.sign(text));
        if (clientId != null) {
            request.setClientId(clientId);
        }
        return request.build();
    }

    Sync.SetRecordReply setRecord(Sync.Record record, String clientId,
            int time) {
        return stub().setRecord(request(record, clientId, time));
    }

    Sync.SetRecordReply setRecord(Sync.Record record, String clientId) {
        return setRecord(record, clientId, now());
    }

    List<Sync.Record> listChanges(long since) {
        int time = now();
        return stub().listChanges(Sync.ListChangesRequest.newBuilder()
                .setSinceRevision(since).setRequestTime(time)
                .setSignature(key.sign(since + "-" + time)).build())
                .getChangesList();
    }

    void setLock(String name, String instance, boolean acquire) {
        int time = now();
        String text = String.join("-", name, instance,
                Boolean.toString(acquire), "true", Integer.toString(time));
        Sync.SetLockReply reply = stub().setLock(
                Sync.SetLockRequest.newBuilder().setLockName(name)
                .setInstanceId(instance).setAcquire(acquire)
                .setExclusive(true).setRequestTime(time)
                .setSignature(key.sign(text)).build());
        Tap.equal(reply, Sync.SetLockReply.getDefaultInstance());
    }

    boolean getLock(String name, int time, String signature) {
        return stub().getLock(Sync.GetLockRequest.newBuilder()
                .setLockName(name).setRequestTime(time)
                .setSignature(signature).build()).getLocked();
    }

    boolean getLock(String name) {
        int time = now();
        return getLock(name, time, key.sign(name + "-" + time));
    }

    Listener listen(long milliseconds) {
        int time = now();
        Listener listener = new Listener();
        SyncerGrpc.newStub(channel).withCompression(compressor)
                .withDeadlineAfter(milliseconds, TimeUnit.MILLISECONDS)
                .listenChanges(Sync.ListenChangesRequest.newBuilder()
                        .setRequestTime(time)
                        .setSignature(key.sign(Integer.toString(time)))
                        .build(), listener);
        return listener;
    }

    /** A listener that has been greeted. */
    Listener listen() throws InterruptedException {
        Listener listener = listen(LISTEN_SECONDS * 1000L);
        Tap.equal(listener.next(), null);
        return listener;
    }
}
