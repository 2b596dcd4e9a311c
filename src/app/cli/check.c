/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "app/cli/command.h"
#include "app/crl_fetch.h"
#include "middleware/api_key.h"
#include "net/tls.h"
#include "store/store_admin.h"

/* A certificate that ends sooner should have been renewed by now. */
#define DAYS_WARN 14
/* So little room is gone in a day. */
#define BYTES_WARN (INT64_C(256) * 1024 * 1024)

enum verdict { CHECK_OK, CHECK_WARN, CHECK_FAIL };

/* Writes one line, and remembers the worst. */
static void say(enum verdict *worst, enum verdict verdict, const char *subject,
	const char *fmt, ...) PRINTF_LIKE(4, 5);

static void say(enum verdict *worst, enum verdict verdict, const char *subject,
	const char *fmt, ...)
{
	static const char *const words[] = {"ok", "warn", "FAIL"};
	va_list args;

	(void)printf("%-4s  %s: ", words[verdict], subject);
	va_start(args, fmt);
	(void)vprintf(fmt, args);
	va_end(args);
	(void)putchar('\n');
	*worst = MAX(*worst, verdict);
}

static void say_days(enum verdict *worst, const char *subject, int days)
{
	if (days < 0)
		say(worst, CHECK_FAIL, subject, "expired %d days ago", -days);
	else
		say(worst, days < DAYS_WARN ? CHECK_WARN : CHECK_OK, subject,
			"valid for %d more days", days);
}

static void check_tls(enum verdict *worst, const struct config *config)
{
	const struct tls_files files = {.cert = config->tls_cert_file,
		.key = config->tls_key_file,
		.client_ca = config->tls_client_ca_file};
	struct tls_context *tls = NULL;
	struct errmsg why;

	if (!config->tls_cert_file[0])
		say(worst, CHECK_OK, "TLS", "off");
	else if (tls_context_new(&files, &tls, &why) < 0)
		say(worst, CHECK_FAIL, "TLS", "%s", why.text);
	else if (tls_context_is_early(tls))
		say(worst, CHECK_FAIL, "TLS", "certificate is not valid yet");
	else
		say_days(worst, "TLS certificate, which has its key",
			tls_context_valid_days(tls));
	tls_context_unref(tls);
}

static void check_api_keys(enum verdict *worst, const struct config *config)
{
	CLEANUP(api_key_verifier_free)
	struct api_key_verifier *v = NULL;
	struct errmsg why;

	if (config->ca_cert_len == 0)
		say(worst, CHECK_OK, "API keys", "not asked for");
	else if (api_key_verifier_new(
			 slice_of(config->ca_cert, config->ca_cert_len), &v,
			 &why) < 0)
		say(worst, CHECK_FAIL, "API keys", "%s", why.text);
	else
		say_days(worst, "CA of API keys",
			api_key_verifier_valid_days(v));
}

/* A start goes on without a list, unless it is told not to. */
static void check_crl(enum verdict *worst, const struct config *config)
{
	enum verdict without =
		config->crl_start == CRL_START_CLOSED ? CHECK_FAIL : CHECK_WARN;
	struct crl *crl = NULL;
	struct errmsg why;

	if (!config->crl_url[0]) {
		say(worst, CHECK_OK, "revocation list", "none");
	} else if (crl_fetch_now(config, &crl, &why) < 0) {
		say(worst, without, "revocation list", "%s", why.text);
	} else {
		say(worst, CHECK_OK, "revocation list", "%zu serials",
			crl_count(crl));
		crl_unref(crl);
	}
}

static void say_schema(enum verdict *worst, const struct store_condition *c)
{
	switch (c->schema) {
	case STORE_SCHEMA_CURRENT:
		say(worst, CHECK_OK, "schema", "up to date");
		return;
	case STORE_SCHEMA_OLD:
		say(worst, CHECK_WARN, "schema",
			"not up to date; tallyd migrate, or a start, does it");
		return;
	case STORE_SCHEMA_NONE:
		say(worst, CHECK_WARN, "schema",
			"none yet; tallyd migrate, or a start, makes it");
		return;
	}
}

static void check_database(enum verdict *worst, const struct config *config)
{
	struct store_condition c;
	struct errmsg why;
	bool tight;

	if (store_admin_look(config, &c, &why) < 0) {
		say(worst, CHECK_FAIL, "database", "%s", why.text);
		return;
	}
	say(worst, CHECK_OK, "database", "%s, %s", c.backend,
		c.served ? "being served" : "not being served");
	if (c.bytes_free >= 0) {
		tight = c.bytes_free < BYTES_WARN;
		say(worst, tight ? CHECK_WARN : CHECK_OK, "disk",
			"%lld MiB free",
			(long long)(c.bytes_free / (1024 * 1024)));
	}
	say_schema(worst, &c);
}

int check_run(const struct command_call *call, struct errmsg *reterr)
{
	enum verdict worst = CHECK_OK;

	/* Else we would not be here. */
	say(&worst, CHECK_OK, "configuration", "every variable is allowed");
	check_tls(&worst, call->config);
	check_api_keys(&worst, call->config);
	check_crl(&worst, call->config);
	check_database(&worst, call->config);
	return worst == CHECK_FAIL
		       ? errmsg_set(reterr, ERR_INVALID, "it would not serve")
		       : 0;
}
