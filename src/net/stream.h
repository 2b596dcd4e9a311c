/* SPDX-License-Identifier: Apache-2.0 */
/* stream — a connected, non-blocking socket: bytes in by callback, bytes out
 * by asking. In clear or over TLS, and with or without a PROXY header in
 * front, which its owner does not notice.
 *
 * Output is pulled: stream_flush() asks for a write at the end of the turn,
 * and then on_fill() is asked for bytes as long as the socket takes them. So
 * all of a turn's frames leave in one system call, and no more than
 * STREAM_OUT_MAX waits here for a slow peer. While output waits, input is not
 * read: who sends requests without reading replies is slowed, not buffered.
 *
 * Threads: its loop's. Does not: know what the bytes mean. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/slice.h"
#include "loop/loop.h"
#include "net/address.h"
#include "net/tls.h"

/* One read at most. What it brings is worked on before anybody else has a turn:
 * of the smallest signed requests it holds some hundred, which take 5 ms. */
#define STREAM_IN_MAX (16 * 1024)

/* Then others have their turn: when so much was read, or so long was worked on
 * it, whatever it was. */
#define STREAM_TURN_BYTES (256 * 1024)
#define STREAM_TURN_NS	  (1 * NS_PER_MS)

/* One write at most; also what a stuck peer can make us hold. */
#define STREAM_OUT_MAX (64 * 1024)
/* The same before it is encrypted. */
#define STREAM_PLAIN_MAX (STREAM_OUT_MAX - TLS_OVERHEAD_MAX)

/* How long a peer has to close after us. */
#define STREAM_LINGER_NS (1 * NS_PER_S)

/* Scratch space that all streams of one thread share, since only one of them
 * reads or writes at a time: idle connections hold no buffers. */
struct stream_scratch {
	uint8_t in[STREAM_IN_MAX];
	struct buf out;
	struct buf plain; /* TLS: what was or is to be encrypted */
};

void stream_scratch_init(struct stream_scratch *s);
void stream_scratch_release(struct stream_scratch *s);

struct stream;

struct stream_options {
	/* A peer that takes nothing for so long, while something is to be
	 * sent, is cut off; or next to nothing, see net/pace.h. */
	int64_t write_timeout_ns;
	bool proxy_header;	 /* the first bytes are a PROXY header */
	struct tls_context *tls; /* borrow(stream_start); NULL: in clear */
	enum tls_alpn alpn;
	enum metric_port port; /* for which its bytes are counted */
};

struct stream_events {
	/* Bytes arrived; all are taken. Returns: 0, <0 to close. */
	int (*on_data)(struct stream *s, struct slice bytes);
	/* Appends what is to be sent, up to out->cap; nothing when there is
	 * nothing. Returns: 0, <0 to close. */
	int (*on_fill)(struct stream *s, struct buf *out);
	/* The end, once: by the peer, an error, or stream_close(). Runs at the
	 * end of the turn; the stream may be released in it. */
	void (*on_closed)(struct stream *s);
	/* With a PROXY header: it has been read, and says who the peer is;
	 * NULL: who the socket says. NULL if there are no such headers.
	 * Returns: 0, <0 to close. */
	int (*on_peer)(struct stream *s, const struct address *peer);
};

struct stream_front;

/* Embedded by its owner. */
struct stream {
	const struct stream_events *events; /* ref; static */
	struct loop *loop;		    /* ref */
	struct stream_scratch *scratch;	    /* ref */
	struct stream_front *front;	    /* own; NULL: nothing between the
					     * socket and the bytes */
	struct watch watch;
	struct deferred flush;
	struct deferred closed;
	struct buf unsent; /* what the socket did not take */
	bool open;
	bool close_when_sent;
	bool lingering;	       /* all is sent; the peer has not closed yet */
	int64_t read_ns;       /* when bytes last arrived */
	bool blocked;	       /* the socket takes nothing now */
	enum metric_port port; /* for which its bytes are counted */
	int64_t write_timeout_ns;
	struct timer write_timer; /* runs from when the socket is full until
				   * all is sent; or while lingering */
	size_t taken;		  /* by the socket, since that was set */
	size_t taken_due;	  /* when it is due, so much must be */
};

/* Starts on a connected socket, which it then owns.
 * Returns: 0, ERR_SYS, ERR_NOMEM (the socket is closed then too). */
MUSTCHECK int stream_start(struct stream *s, struct loop *loop,
	struct stream_scratch *scratch, int fd,
	const struct stream_options *options,
	const struct stream_events *events);

/* Frees what is left; not called between stream_close() and on_closed. */
void stream_release(struct stream *s);

/* Whether bytes can come and go: a PROXY header and the TLS handshake are
 * through. Until then on_fill() is not called. */
bool stream_ready(const struct stream *s);

/* Why TLS failed, for the log; NULL if it did not. Static text. */
const char *stream_failure(const struct stream *s);

/* There is something to send. */
void stream_flush(struct stream *s);

/* Closes now, dropping what was not sent. */
void stream_close(struct stream *s);

/* Sends what on_fill() still gives, then closes: its own side first, and the
 * socket when the peer has closed too or STREAM_LINGER_NS have passed. With
 * bytes unread the socket would be reset, and the peer lose what was sent. */
void stream_close_when_sent(struct stream *s);
