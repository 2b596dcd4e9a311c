/* SPDX-License-Identifier: Apache-2.0 */
#include "app/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

/* Of /proc/self/stat, counted from 1 as in proc(5). */
enum {
	STAT_AFTER_NAME = 3,
	STAT_THREADS = 20,
	STAT_START = 22, /* clock ticks since the machine did */
	STAT_VIRTUAL = 23,
	STAT_RESIDENT = 24, /* pages */
	STAT_FIELDS = 24,
};

/* All of the files read here are shorter. */
#define FILE_MAX 1024

/* The file as text. Returns whether there is any. */
static bool read_file(const char *path, char text[FILE_MAX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd >= 0) {
		n = read(fd, text, FILE_MAX - 1);
		close(fd);
	}
	text[MAX(n, 0)] = '\0';
	return n > 0;
}

/* The numbers behind the name, each at its number's place; 0 for none. */
static void read_stat(uint64_t fields[STAT_FIELDS + 1])
{
	char text[FILE_MAX], *at;
	size_t i;

	memset(fields, 0, (STAT_FIELDS + 1) * sizeof(fields[0]));
	/* The name may hold anything, also blanks and parentheses. */
	at = read_file("/proc/self/stat", text) ? strrchr(text, ')') : NULL;
	for (i = STAT_AFTER_NAME; at && i <= STAT_FIELDS; i++) {
		at = strchr(at + 1, ' ');
		if (at)
			fields[i] = strtoull(at + 1, NULL, 10);
	}
}

void process_init(struct process *p)
{
	uint64_t fields[STAT_FIELDS + 1];
	long ticks = sysconf(_SC_CLK_TCK);
	int64_t age_ns;

	p->start_ns = 0;
	read_stat(fields);
	if (ticks <= 0 || fields[STAT_START] == 0)
		return;
	age_ns = clock_boot_ns() -
		 (int64_t)fields[STAT_START] * (NS_PER_S / ticks);
	p->start_ns = clock_wall_ns(&clock_system) - age_ns;
}

/* Since Linux 6.2 the directory's size says it; else they are counted. */
static uint64_t open_fds(void)
{
	struct stat st;
	uint64_t n = 0;
	DIR *dir;

	if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
		return (uint64_t)st.st_size;
	dir = opendir("/proc/self/fd");
	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n > 3 ? n - 3 : 0; /* ".", ".." and the directory itself */
}

static int64_t ns_of(struct timeval t)
{
	return t.tv_sec * NS_PER_S + t.tv_usec * NS_PER_US;
}

void process_metrics(const struct process *p, struct metrics_sum *sum)
{
	uint64_t fields[STAT_FIELDS + 1];
	struct rusage usage;
	struct rlimit limit;

	read_stat(fields);
	sum->value[METRIC_START] = (uint64_t)p->start_ns;
	sum->value[METRIC_THREADS] = fields[STAT_THREADS];
	sum->value[METRIC_VIRTUAL] = fields[STAT_VIRTUAL];
	sum->value[METRIC_RESIDENT] =
		fields[STAT_RESIDENT] * (uint64_t)sysconf(_SC_PAGESIZE);
	sum->value[METRIC_OPEN_FDS] = open_fds();
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		sum->value[METRIC_CPU] = (uint64_t)(ns_of(usage.ru_utime) +
						    ns_of(usage.ru_stime));
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		sum->value[METRIC_MAX_FDS] = limit.rlim_cur;
}
