/* SPDX-License-Identifier: Apache-2.0 */
#include "app/crl_fetch.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/limits.h"
#include "loop/mailbox.h"
#include "loop/thread.h"

/* How often a transfer under way looks whether it should stop. */
#define STOP_POLL_MS 100

struct crl_fetch {
	const struct config *config; /* ref */
	crl_fetched_fn on_fetched;
	void *ctx;
	pthread_t thread;
	struct mailbox mailbox; /* only ever gets the stop message */
	struct message stop_message;
	atomic_bool stopping;
	CURL *curl;   /* own */
	CURLM *multi; /* own */
	struct buf body;
	size_t n_serials;   /* in the list in force */
	int64_t fetched_ns; /* when a list last came; 0: never */
	struct metrics metrics;
};

static size_t on_bytes(char *bytes, size_t size, size_t n, void *ctx)
{
	struct crl_fetch *f = ctx;

	/* Fewer than given makes the transfer fail. */
	return buf_append(&f->body, bytes, size * n) == 0 ? size * n : 0;
}

static int set_up_curl(struct crl_fetch *f)
{
	CURL *c = f->curl = curl_easy_init();

	f->multi = curl_multi_init();
	if (!c || !f->multi)
		return ERR_NOMEM;
	if (curl_easy_setopt(c, CURLOPT_URL, f->config->crl_url) != CURLE_OK ||
		curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") !=
			CURLE_OK ||
		curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR,
			"http,https") != CURLE_OK ||
		curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L) != CURLE_OK ||
		curl_easy_setopt(c, CURLOPT_MAXREDIRS, 3L) != CURLE_OK ||
		curl_easy_setopt(c, CURLOPT_TIMEOUT,
			(long)CRL_FETCH_TIMEOUT_S) != CURLE_OK ||
		curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) != CURLE_OK ||
		curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_bytes) !=
			CURLE_OK ||
		curl_easy_setopt(c, CURLOPT_WRITEDATA, f) != CURLE_OK)
		return ERR_INVALID;
	return 0;
}

/* Runs the transfer, looking out for stop. */
static CURLcode transfer(struct crl_fetch *f)
{
	CURLcode result = CURLE_ABORTED_BY_CALLBACK;
	int running = 1, left;
	CURLMsg *msg;

	if (curl_multi_add_handle(f->multi, f->curl) != CURLM_OK)
		return CURLE_OUT_OF_MEMORY;
	while (running && !atomic_load(&f->stopping)) {
		if (curl_multi_perform(f->multi, &running) != CURLM_OK ||
			(running && curl_multi_poll(f->multi, NULL, 0,
					    STOP_POLL_MS, NULL) != CURLM_OK))
			break;
	}
	while ((msg = curl_multi_info_read(f->multi, &left))) {
		if (msg->msg == CURLMSG_DONE)
			result = msg->data.result;
	}
	(void)curl_multi_remove_handle(f->multi, f->curl); /* it was added */
	return result;
}

/* A body that ends with its connection may have lost its end, and nobody can
 * tell; one with a length or chunks cannot, and curl looks. */
static bool came_whole(CURL *curl)
{
	struct curl_header *header;
	curl_off_t length = -1;
	long version = 0;

	if (curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T,
		    &length) == CURLE_OK &&
		length >= 0)
		return true;
	if (curl_easy_getinfo(curl, CURLINFO_HTTP_VERSION, &version) ==
			CURLE_OK &&
		version >= CURL_HTTP_VERSION_2_0)
		return true;
	return curl_easy_header(curl, "transfer-encoding", 0, CURLH_HEADER, -1,
		       &header) == CURLHE_OK;
}

/* Returns NULL, or why not; the reason names no host. */
static const char *fetch_list(struct crl_fetch *f, struct crl **ret_crl)
{
	CURLcode result;
	long status = 0;

	buf_reset(&f->body);
	result = transfer(f);
	if (result != CURLE_OK)
		return curl_easy_strerror(result);
	if (curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status) !=
			CURLE_OK ||
		status != 200)
		return "HTTP status is not 200";
	if (!came_whole(f->curl))
		return "body has no length, so its end may be missing";
	if (crl_parse(buf_slice(&f->body), ret_crl) < 0)
		return "body is not a list of decimal serial numbers";
	if (crl_count(*ret_crl) == 0 && f->n_serials > 0) {
		crl_unref(*ret_crl);
		return "body is empty, though there were revoked keys";
	}
	return NULL;
}

/* Returns whether a list came. */
static bool fetch_once(struct crl_fetch *f)
{
	int64_t now = clock_mono_ns(&clock_system);
	const char *why;
	struct crl *crl = NULL;

	why = fetch_list(f, &crl);
	metrics_add(&f->metrics,
		metric_at(METRIC_CRL_FETCHES,
			why ? METRIC_RESULT_FAILED : METRIC_RESULT_OK),
		1);
	if (why) {
		if (f->fetched_ns == 0)
			log_warn(NULL, "crl.failed", F_STR("reason", why),
				F_STR("in_force", "none yet"));
		else
			log_warn(NULL, "crl.failed", F_STR("reason", why),
				F_I64("in_force_age_s",
					(now - f->fetched_ns) / NS_PER_S));
		return false;
	}
	f->fetched_ns = now;
	f->n_serials = crl_count(crl);
	metrics_set(
		&f->metrics, METRIC_CRL_STAMP, clock_wall_ns(&clock_system));
	metrics_set(&f->metrics, METRIC_CRL_SERIALS, (int64_t)f->n_serials);
	log_info(NULL, "crl.fetched", F_U64("serials", crl_count(crl)));
	f->on_fetched(f->ctx, crl);
	return true;
}

static void *fetch_main(void *arg)
{
	struct crl_fetch *f = arg;
	uint32_t wait_s;

	while (!atomic_load(&f->stopping)) {
		wait_s = f->config->crl_refresh_s;
		if (!fetch_once(f))
			wait_s = MIN(wait_s, (uint32_t)CRL_RETRY_S);
		if (atomic_load(&f->stopping))
			break;
		/* The one message there is says stop. */
		if (mailbox_wait(&f->mailbox, (int)wait_s * 1000))
			break;
	}
	return NULL;
}

static void fetch_free(struct crl_fetch **fetch)
{
	struct crl_fetch *f = *fetch;

	if (!f)
		return;
	curl_easy_cleanup(f->curl);
	if (f->multi)
		(void)curl_multi_cleanup(f->multi); /* nothing is in it */
	buf_release(&f->body);
	mailbox_release(&f->mailbox);
	mem_free(f);
	*fetch = NULL;
}

int crl_fetch_now(const struct config *config, struct crl **ret_crl,
	struct errmsg *reterr)
{
	CLEANUP(fetch_free)
	struct crl_fetch *f = mem_zalloc(sizeof(*f));
	const char *why = NULL;
	int r;

	if (!f)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	f->mailbox.event_fd = -1;
	f->config = config;
	buf_init(&f->body, CRL_BYTES_MAX);
	r = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : ERR_SYS;
	if (r == 0)
		r = set_up_curl(f);
	if (r == 0)
		why = fetch_list(f, ret_crl);
	if (r < 0)
		why = err_text(r);
	return why ? errmsg_set(reterr, ERR_IO, "CRL_URL: %s", why) : 0;
}

int crl_fetch_start(const struct config *config, crl_fetched_fn on_fetched,
	void *ctx, struct crl_fetch **ret_fetch, struct errmsg *reterr)
{
	CLEANUP(fetch_free)
	struct crl_fetch *f = mem_zalloc(sizeof(*f));
	int r;

	if (!f)
		return errmsg_set(reterr, ERR_NOMEM, "out of memory");
	f->mailbox.event_fd = -1;
	f->config = config;
	f->on_fetched = on_fetched;
	f->ctx = ctx;
	buf_init(&f->body, CRL_BYTES_MAX);
	r = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : ERR_SYS;
	if (r == 0)
		r = mailbox_init(&f->mailbox);
	if (r == 0)
		r = set_up_curl(f);
	if (r == 0)
		r = thread_start(&f->thread, "crl-fetch", fetch_main, f);
	if (r < 0)
		return errmsg_set(
			reterr, r, "CRL_URL cannot be used: %s", err_text(r));
	*ret_fetch = TAKE_PTR(f);
	return 0;
}

void crl_fetch_metrics(const struct crl_fetch *f, struct metrics_sum *sum)
{
	metrics_sum_add(sum, &f->metrics);
}

void crl_fetch_stop(struct crl_fetch **fetch)
{
	struct crl_fetch *f = *fetch;

	if (!f)
		return;
	atomic_store(&f->stopping, true);
	mailbox_post(&f->mailbox, &f->stop_message);
	thread_join(f->thread);
	fetch_free(fetch);
}
