/* A wall clock that one program sees and a test sets: loaded before the C library (LD_PRELOAD), it
 * adds the number of seconds in the file FWT_CLOCK to CLOCK_REALTIME. Every other clock, and what BPF
 * programs read, is the kernel's. See clock.rs. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
	const char *path = getenv("FWT_CLOCK");
	char text[32];
	long count;
	int file, result = syscall(SYS_clock_gettime, clock, time);

	if (result || clock != CLOCK_REALTIME || !path)
		return result;
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return result;
	count = read(file, text, sizeof text - 1);
	close(file);
	if (count > 0) {
		text[count] = 0;
		time->tv_sec += strtol(text, NULL, 10);
	}
	return result;
}
