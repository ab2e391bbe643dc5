/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Prints what a packet and a connection cost the process that sends them, for the benchmarks: nanoseconds of one UDP
 * datagram of a known flow, and of one TCP connection, opened and aborted, on one line.
 *
 *   packets NAMESPACE ADDRESS PORT
 *
 * The other side is a pair of sockets of this same process that belong to another network namespace. So each packet
 * goes through the firewall of the one that this process was started in, out or in, and nobody has to be woken up: the
 * kernel delivers within the system call, and there is nothing but its work in the figures.
 */

#define _GNU_SOURCE

#include <sys/socket.h>
#include <sys/types.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * In batches of some 100 us, of which the median is printed: where somebody else gets the processor, for milliseconds
 * at a time, most batches do not notice.
 */
#define BATCHES		51
#define DATAGRAMS	80	/* in a batch */
#define CONNECTIONS	8	/* in a batch; their ports are free again at once, for they are aborted */

static _Noreturn void
fail(const char *what)
{
	perror(what);
	exit(1);
}

static double
now_ns(void)
{
	struct timespec	t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void
enter(const char *path)
{
	int	fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd == -1 || setns(fd, CLONE_NEWNET) == -1)
		fail(path);
	close(fd);
}

static int
new_socket(int type)
{
	int	fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd == -1)
		fail("socket");
	return fd;
}

static int
compare(const void *a, const void *b)
{
	double	x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double times[static BATCHES])
{
	qsort(times, BATCHES, sizeof(times[0]), compare);
	return times[BATCHES / 2];
}

static double
measure_datagram(const struct sockaddr_in *to)
{
	char	data[64] = { 0 };
	double	times[BATCHES];
	int	fd = new_socket(SOCK_DGRAM);

	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) == -1)
		fail("connect");
	if (send(fd, data, sizeof(data), 0) == -1)
		fail("the first datagram is refused");
	for (int batch = 0; batch < BATCHES; batch++) {
		double	start = now_ns();

		for (int i = 0; i < DATAGRAMS; i++)
			if (send(fd, data, sizeof(data), 0) == -1)
				fail("send");
		times[batch] = (now_ns() - start) / DATAGRAMS;
	}
	close(fd);
	return median(times);
}

static double
measure_connection(const struct sockaddr_in *to, int listener)
{
	struct linger	abort_it = { .l_onoff = 1, .l_linger = 0 };
	double		times[BATCHES];

	for (int batch = 0; batch < BATCHES; batch++) {
		double	start = now_ns();

		for (int i = 0; i < CONNECTIONS; i++) {
			int	fd = new_socket(SOCK_STREAM), accepted;

			if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) == -1 ||
			    (accepted = accept(listener, NULL, NULL)) == -1)
				fail("a connection is refused");
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_it, sizeof(abort_it));
			close(fd);
			close(accepted);
		}
		times[batch] = (now_ns() - start) / CONNECTIONS;
	}
	return median(times);
}

int
main(int argc, char **argv)
{
	struct sockaddr_in	to = { .sin_family = AF_INET };
	double			datagram;
	int			listener, sink, yes = 1, least = 1;

	if (argc != 4 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) {
		fprintf(stderr, "usage: packets NAMESPACE ADDRESS PORT\n");
		return 2;
	}
	to.sin_port = htons((uint16_t)atoi(argv[3]));

	enter(argv[1]);
	listener = new_socket(SOCK_STREAM);
	sink = new_socket(SOCK_DGRAM);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	/* What nobody reads is dropped where it arrives, at the same cost each time. */
	setsockopt(sink, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
	if (bind(listener, (struct sockaddr *)&to, sizeof(to)) == -1 || listen(listener, 8) == -1 ||
	    bind(sink, (struct sockaddr *)&to, sizeof(to)) == -1)
		fail("bind");
	enter("/proc/1/ns/net");

	measure_datagram(&to);	/* warm-up */
	datagram = measure_datagram(&to);
	printf("%.1f %.1f\n", datagram, measure_connection(&to, listener));
	return 0;
}
