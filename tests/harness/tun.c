/* A cable without link header between two network namespaces: a tun device in each, and this program,
 * which carries each packet from the one to the other until its standard input ends. See tun.rs.
 *
 * tun FIRST SECOND NAME [TYPE]: the files of both namespaces, the name of both devices, and of what type
 * they say that they are (ARPHRD_*). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int end_in(const char *namespace, const char *name)
{
	int to = open(namespace, O_RDONLY | O_CLOEXEC), end;
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };

	if (to < 0 || setns(to, CLONE_NEWNET))
		return -1;
	close(to);
	end = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	return end < 0 || ioctl(end, TUNSETIFF, &request) ? -1 : end;
}

static void carry(int from, int to)
{
	static char packet[65536];
	ssize_t length;

	/* What the other end does not take is lost, as on a cable. */
	while ((length = read(from, packet, sizeof packet)) > 0)
		if (write(to, packet, length) < 0)
			continue;
}

int main(int count, char **words)
{
	struct pollfd ends[3] = { { .events = POLLIN }, { .events = POLLIN }, { .events = POLLIN } };

	if (count < 4)
		return 2;
	for (int end = 0; end < 2; end++)
		if ((ends[end].fd = end_in(words[1 + end], words[3])) < 0 ||
		    (count > 4 && ioctl(ends[end].fd, TUNSETLINK, atol(words[4])))) {
			perror(words[1 + end]);
			return 1;
		}
	puts("ready");
	fflush(stdout);
	while (poll(ends, 3, -1) > 0 && !ends[2].revents) {
		carry(ends[0].fd, ends[1].fd);
		carry(ends[1].fd, ends[0].fd);
	}
	return 0;
}
