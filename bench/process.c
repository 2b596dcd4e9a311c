/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define PATH_BYTES 128

static void close_file(FILE **file)
{
	if (*file)
		(void)fclose(*file); /* was only read */
}

static void close_directory(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

/* The number behind `name` at the start of a line. */
static int read_number(
	pid_t pid, const char *entry, const char *name, int64_t *ret_number)
{
	char path[PATH_BYTES], line[256];
	CLEANUP(close_file)
	FILE *file = NULL;
	size_t len = strlen(name);

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, entry);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, name, len) != 0)
			continue;
		*ret_number = strtoll(line + len, NULL, 10);
		return 0;
	}
	return ERR_SYS;
}

/* schedstat counts nanoseconds, where stat counts ticks of 10 ms. */
static int read_cpu(pid_t pid, int64_t *ret_ns)
{
	char path[PATH_BYTES];
	CLEANUP(close_directory)
	DIR *dir = NULL;
	struct dirent *entry;
	int64_t sum = 0, one;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return ERR_SYS;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "task/%.32s/schedstat",
			entry->d_name);
		if (read_number(pid, path, "", &one) == 0)
			sum += one;
	}
	*ret_ns = sum;
	return 0;
}

int process_look(pid_t pid, struct process_usage *ret_usage)
{
	struct process_usage u = {0};

	if (read_cpu(pid, &u.cpu_ns) < 0 ||
		read_number(pid, "io", "write_bytes:", &u.written_bytes) < 0 ||
		read_number(pid, "status", "VmRSS:", &u.rss_bytes) < 0 ||
		read_number(pid, "status", "VmHWM:", &u.peak_bytes) < 0)
		return ERR_SYS;
	u.rss_bytes *= 1024;
	u.peak_bytes *= 1024;
	*ret_usage = u;
	return 0;
}

void process_forget_peak(pid_t pid)
{
	char path[PATH_BYTES];
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/clear_refs", (int)pid);
	file = fopen(path, "we");
	if (!file)
		return;
	(void)fputs("5\n", file); /* proc(5): resets VmHWM */
	(void)fclose(file);
}
