// SPDX-License-Identifier: Apache-2.0
package tallyd;

import io.grpc.Status;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** What a case is, and how it is told: TAP on standard output. */
final class Tap {
    private static final int CASE_SECONDS = 30;

    private int cases;
    private int failed;

    /** What a case does; it fails by throwing. */
    interface Body {
        void run() throws Exception;
    }

    void run(String name, Body body) {
        cases += 1;
        Throwable fault = faultOf(body);
        if (fault == null) {
            System.out.println("ok " + cases + " - " + name);
        } else {
            failed += 1;
            System.out.println("not ok " + cases + " - " + name + "\n# "
                    + fault);
        }
    }

    private static Throwable faultOf(Body body) {
        try {
            CompletableFuture.runAsync(() -> {
                try {
                    body.run();
                } catch (Exception e) {
                    throw new IllegalStateException(e.toString(), e);
                }
            }).get(CASE_SECONDS, TimeUnit.SECONDS);
            return null;
        } catch (ExecutionException e) {
            return e.getCause();
        } catch (InterruptedException | TimeoutException e) {
            return e;
        }
    }

    /** Prints the plan; the exit status. */
    int end() {
        System.out.println("1.." + cases);
        return failed > 0 ? 1 : 0;
    }

    static void equal(Object actual, Object expected) {
        if (!Objects.equals(actual, expected)) {
            String text = actual + ", expected " + expected;
            throw new AssertionError(
                    text.substring(0, Math.min(500, text.length())));
        }
    }

    /** `message` null: any. */
    static void refused(Runnable call, Status.Code code, String message) {
        Status status = Status.OK;
        try {
            call.run();
        } catch (RuntimeException e) {
            status = Status.fromThrowable(e);
        }
        equal(status.getCode(), code);
        if (message != null) {
            equal(status.getDescription(), message);
        }
    }
}
