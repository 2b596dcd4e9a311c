/* SPDX-License-Identifier: Apache-2.0 */
/* tls_watch — a thread that loads the TLS files again when they change, or
 * when it is told to.
 *
 * Files that cannot be used change nothing: what was loaded last stays, and
 * the log says why. A certificate and its key are two files: who replaces one
 * after the other may see that line once, and the next look finds both. */
#pragma once

#include "base/attr.h"
#include "base/err.h"
#include "base/metrics.h"
#include "config/config.h"
#include "net/tls.h"

/* How often it looks whether the files have changed. */
#define TLS_WATCH_S 2

struct tls_watch;

/* Takes over the reference; NULL when the files could not be used. Runs on the
 * watch's thread. */
typedef void (*tls_loaded_fn)(void *ctx, struct tls_context *tls);

/* Loads the files of `config`, which outlives the watch, for the first time, in
 * the calling thread. The caller has the reference to *ret_tls.
 * Returns: 0; ERR_* with a sentence. */
MUSTCHECK int tls_watch_new(const struct config *config,
	struct tls_watch **ret_watch, struct tls_context **ret_tls,
	struct errmsg *reterr);

/* Starts the thread. Returns: 0; ERR_SYS with a sentence. */
MUSTCHECK int tls_watch_start(struct tls_watch *w, tls_loaded_fn on_loaded,
	void *ctx, struct errmsg *reterr);

/* Has the files loaded again, changed or not. From the thread that started
 * it. */
void tls_watch_reload(struct tls_watch *w);

/* Any thread: adds what it has counted. */
void tls_watch_metrics(const struct tls_watch *w, struct metrics_sum *sum);

/* Ends the thread, if it was started. NULL inside is fine. */
void tls_watch_free(struct tls_watch **watch);
