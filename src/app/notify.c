/* SPDX-License-Identifier: Apache-2.0 */
#include "app/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/log.h"

#define MESSAGE_MAX 256

/* What an end takes beyond the drain: threads, the store's last answers. */
#define STOP_SLACK_S 10

/* A path, or a name in the abstract name space, which has no file. Returns
 * whether it was one. */
static bool parse_socket(const char *text, struct notify *n)
{
	size_t len = strlen(text);

	if ((text[0] != '/' && text[0] != '@') || !text[1] ||
		len >= sizeof(n->to.sun_path))
		return false;
	n->to.sun_family = AF_UNIX;
	memcpy(n->to.sun_path, text, len);
	n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	if (text[0] == '@')
		n->to.sun_path[0] = '\0';
	else
		n->to_len++; /* a path has its NUL */
	return true;
}

static void open_socket(struct notify *n)
{
	const struct timeval patience = {.tv_sec = NOTIFY_WAIT_S};
	const char *text = getenv("NOTIFY_SOCKET");

	if (!text || !text[0])
		return;
	if (parse_socket(text, n))
		n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (n->fd < 0) {
		log_warn(NULL, "notify.no_socket");
		return;
	}
	(void)setsockopt(
		n->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

/* Zero for text that is no number above it, or beyond any reason. */
static int64_t parse_number(const char *text)
{
	long long number;
	char *end;

	errno = 0;
	number = strtoll(text, &end, 10);
	return *end || errno || number <= 0 || number > INT64_MAX / NS_PER_US
		       ? 0
		       : number;
}

static int64_t watchdog_time(void)
{
	const char *pid = getenv("WATCHDOG_PID");
	const char *usec = getenv("WATCHDOG_USEC");

	if (!usec || (pid && parse_number(pid) != getpid()))
		return 0;
	return parse_number(usec) * NS_PER_US;
}

void notify_open(struct notify *n)
{
	*n = (struct notify){.fd = -1};
	open_socket(n);
	n->watchdog_ns = n->fd >= 0 ? watchdog_time() : 0;
	(void)unsetenv("NOTIFY_SOCKET");
	(void)unsetenv("WATCHDOG_USEC");
	(void)unsetenv("WATCHDOG_PID");
}

void notify_release(struct notify *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
}

static void tell(const struct notify *n, int flags, const char *text)
{
	if (n->fd < 0)
		return;
	if (sendto(n->fd, text, strlen(text), flags | MSG_NOSIGNAL,
		    (const struct sockaddr *)&n->to, n->to_len) < 0)
		log_warn(NULL, "notify.failed",
			F_STR("reason", strerror(errno)));
}

void notify_ready(const struct notify *n, const char *status)
{
	char text[MESSAGE_MAX];

	(void)snprintf(text, sizeof(text), "READY=1\nSTATUS=%s", status);
	tell(n, 0, text);
}

void notify_reloading(const struct notify *n, int64_t now_ns)
{
	char text[MESSAGE_MAX];

	(void)snprintf(text, sizeof(text),
		"RELOADING=1\nMONOTONIC_USEC=%" PRId64, now_ns / NS_PER_US);
	tell(n, MSG_DONTWAIT, text);
}

void notify_stopping(const struct notify *n, uint32_t timeout_s)
{
	char text[MESSAGE_MAX];

	(void)snprintf(text, sizeof(text),
		"STOPPING=1\nSTATUS=Draining\nEXTEND_TIMEOUT_USEC=%" PRIu64,
		((uint64_t)timeout_s + STOP_SLACK_S) * 1000000);
	tell(n, MSG_DONTWAIT, text);
}

void notify_alive(const struct notify *n)
{
	tell(n, MSG_DONTWAIT, "WATCHDOG=1");
}
