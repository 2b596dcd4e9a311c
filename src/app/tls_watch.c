/* SPDX-License-Identifier: Apache-2.0 */
#include "app/tls_watch.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "loop/mailbox.h"
#include "loop/thread.h"

enum { CERT, KEY, CLIENT_CA, FILES };

/* What tells a file from the one that was there before. */
struct file_id {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec written;
	struct timespec changed; /* also by rename and chmod */
};

struct tls_watch {
	const char *paths[FILES]; /* ref; "" for none */
	struct file_id ids[FILES];
	struct tls_files files;
	tls_loaded_fn on_loaded;
	void *ctx;
	pthread_t thread;
	struct mailbox mailbox; /* gets the two messages below */
	struct message stop_message;
	struct message reload_message;
	atomic_bool reload_posted;
	bool reload;
	bool failed; /* the last time */
	bool stopping;
	bool started;
	struct metrics metrics; /* the thread's, once it was started */
};

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_id(const struct file_id *a, const struct file_id *b)
{
	return a->device == b->device && a->inode == b->inode &&
	       a->size == b->size && same_time(a->written, b->written) &&
	       same_time(a->changed, b->changed);
}

/* All zero when there is no such file. */
static struct file_id identify(const char *path)
{
	struct file_id id = {.size = 0};
	struct stat st;

	if (path[0] && stat(path, &st) == 0) {
		id.device = st.st_dev;
		id.inode = st.st_ino;
		id.size = st.st_size;
		id.written = st.st_mtim;
		id.changed = st.st_ctim;
	}
	return id;
}

/* Whether any file is another than when this was last asked. */
static bool have_changed(struct tls_watch *w)
{
	bool changed = false;
	struct file_id id;
	size_t i;

	for (i = 0; i < FILES; i++) {
		id = identify(w->paths[i]);
		changed |= !same_id(&id, &w->ids[i]);
		w->ids[i] = id;
	}
	return changed;
}

static void say_loaded(struct tls_watch *w, const struct tls_context *tls)
{
	int days = tls_context_valid_days(tls);

	metrics_add(
		&w->metrics, metric_at(METRIC_TLS_LOADS, METRIC_RESULT_OK), 1);
	metrics_set(&w->metrics, METRIC_TLS_EXPIRY, tls_context_expiry_ns(tls));
	if (days < 0)
		log_warn(NULL, "tls.certificate_is_over",
			F_I64("valid_days", days));
	else
		log_info(NULL, "tls.loaded", F_I64("valid_days", days));
}

/* Tells a failure unless it is `silent`: tried again, for want of memory or
 * descriptors passes, but told once. */
static void load_again(struct tls_watch *w, bool silent)
{
	struct errmsg why = {.text = ""};
	struct tls_context *tls = NULL;

	w->failed = tls_context_new(&w->files, &tls, &why) < 0;
	if (w->failed)
		metrics_add(&w->metrics,
			metric_at(METRIC_TLS_LOADS, METRIC_RESULT_FAILED), 1);
	if (!w->failed)
		say_loaded(w, tls);
	else if (!silent)
		log_error(NULL, "tls.not_loaded", F_STR("reason", why.text));
	w->on_loaded(w->ctx, tls);
}

static void deliver_stop(struct message *msg)
{
	CONTAINER_OF(msg, struct tls_watch, stop_message)->stopping = true;
}

static void deliver_reload(struct message *msg)
{
	struct tls_watch *w =
		CONTAINER_OF(msg, struct tls_watch, reload_message);

	w->reload = true;
	atomic_store(&w->reload_posted, false);
}

static void *watch_main(void *arg)
{
	struct tls_watch *w = arg;
	struct message *msg, *next;
	bool asked;

	for (;;) {
		msg = mailbox_wait(&w->mailbox, TLS_WATCH_S * 1000);
		for (; msg; msg = next) {
			next = msg->next;
			msg->deliver(msg);
		}
		if (w->stopping)
			return NULL;
		/* Looked at first: what changes while it is being loaded is
		 * found the next time. */
		asked = have_changed(w) || w->reload;
		if (asked || w->failed)
			load_again(w, !asked);
		w->reload = false;
	}
}

int tls_watch_new(const struct config *config, struct tls_watch **ret_watch,
	struct tls_context **ret_tls, struct errmsg *reterr)
{
	CLEANUP(tls_watch_free)
	struct tls_watch *w = mem_zalloc(sizeof(*w));
	int r;

	if (!w)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	w->mailbox.event_fd = -1;
	w->files = (struct tls_files){
		.cert = config->tls_cert_file,
		.key = config->tls_key_file,
		.client_ca = config->tls_client_ca_file,
	};
	w->paths[CERT] = w->files.cert;
	w->paths[KEY] = w->files.key;
	w->paths[CLIENT_CA] = w->files.client_ca;
	w->stop_message.deliver = deliver_stop;
	w->reload_message.deliver = deliver_reload;
	r = mailbox_init(&w->mailbox);
	if (r < 0)
		return errmsg_set(reterr, r, "TLS cannot be watched");
	(void)have_changed(w); /* takes down how they are */
	r = tls_context_new(&w->files, ret_tls, reterr);
	if (r < 0)
		return r;
	say_loaded(w, *ret_tls);
	*ret_watch = TAKE_PTR(w);
	return 0;
}

int tls_watch_start(struct tls_watch *w, tls_loaded_fn on_loaded, void *ctx,
	struct errmsg *reterr)
{
	w->on_loaded = on_loaded;
	w->ctx = ctx;
	if (thread_start(&w->thread, "tls-watch", watch_main, w) < 0)
		return errmsg_set(reterr, ERR_SYS, "cannot start a thread");
	w->started = true;
	return 0;
}

void tls_watch_metrics(const struct tls_watch *w, struct metrics_sum *sum)
{
	metrics_sum_add(sum, &w->metrics);
}

void tls_watch_reload(struct tls_watch *w)
{
	if (!atomic_exchange(&w->reload_posted, true))
		mailbox_post(&w->mailbox, &w->reload_message);
}

void tls_watch_free(struct tls_watch **watch)
{
	struct tls_watch *w = *watch;

	if (!w)
		return;
	if (w->started) {
		mailbox_post(&w->mailbox, &w->stop_message);
		thread_join(w->thread);
	}
	mailbox_release(&w->mailbox);
	mem_free(w);
	*watch = NULL;
}
