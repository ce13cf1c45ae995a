/* Runs a command N times and prints, as JSON, the wall-clock time of each run and the largest peak of memory. */
#include "base/util.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long runs = argc > 2 ? strtol(argv[1], NULL, 10) : 0, peak_kb = 0;

	if (runs <= 0) {
		fputs("usage: bench_exec N CMD...\n", stderr);
		return 2;
	}
	printf("{\"seconds\":[");
	for (long i = 0; i < runs; i++) {
		int64_t start = smg_steady_us();
		struct rusage ru;
		int status;
		pid_t pid;

		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			execvp(argv[2], argv + 2);
			_exit(127);
		}
		if (pid < 0 || wait4(pid, &status, 0, &ru) < 0 || !WIFEXITED(status) || WEXITSTATUS(status)) {
			fprintf(stderr, "bench_exec: %s failed\n", argv[2]);
			return 1;
		}
		printf("%s%.6f", i ? "," : "", (double)(smg_steady_us() - start) / 1e6);
		peak_kb = ru.ru_maxrss > peak_kb ? ru.ru_maxrss : peak_kb;
	}
	printf("],\"peak_mb\":%.1f}\n", (double)peak_kb * 1024 / 1e6);
	return 0;
}
