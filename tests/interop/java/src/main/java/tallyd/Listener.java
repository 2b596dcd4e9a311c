// SPDX-License-Identifier: Apache-2.0
package tallyd;

import io.grpc.Status;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import sync.Sync;

/** What ListenChanges says, in a queue; the end is in it, too. */
final class Listener implements ClientResponseObserver<
        Sync.ListenChangesRequest, Sync.Notification> {
    private static final int SECONDS = 5;

    private final BlockingQueue<Object> events = new LinkedBlockingQueue<>();
    private ClientCallStreamObserver<Sync.ListenChangesRequest> call;

    @Override
    public void beforeStart(
            ClientCallStreamObserver<Sync.ListenChangesRequest> call) {
        this.call = call;
    }

    @Override
    public void onNext(Sync.Notification notification) {
        events.add(notification);
    }

    @Override
    public void onError(Throwable error) {
        events.add(Status.fromThrowable(error).getCode());
    }

    @Override
    public void onCompleted() {
        events.add(Status.Code.OK);
    }

    void cancel() {
        call.cancel("no longer interested", null);
    }

    private Object event() throws InterruptedException {
        Object event = events.poll(SECONDS, TimeUnit.SECONDS);
        if (event == null) {
            throw new AssertionError("nothing was heard");
        }
        return event;
    }

    /** Whose change it hears of; null if that is not said. */
    String next() throws InterruptedException {
        if (event() instanceof Sync.Notification notification) {
            return notification.hasClientId()
                    ? notification.getClientId() : null;
        }
        throw new AssertionError("it ended");
    }

    /** The status it ends with, after whatever it still hears. */
    Status.Code end() throws InterruptedException {
        for (;;) {
            if (event() instanceof Status.Code code) {
                return code;
            }
        }
    }
}
