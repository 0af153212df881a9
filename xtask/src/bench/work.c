// work spin|mixed SECONDS: waits for a line on standard input, counts work units for SECONDS, prints `UNITS CPU_NS`, and
// stays until standard input ends: a profiler is ended while its target lives, as when somebody presses Ctrl-C.
// work now: prints CLOCK_MONOTONIC in nanoseconds.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEEP __attribute__((noinline))
// Stands after a call in tail position: the caller stays on the stack.
#define NO_TAIL_CALL __asm__ volatile("" ::: "memory")
#define DEPTH 30

static int mixed, from, to;

static long long clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

// A constant number of dependent steps, some 20 microseconds; frame pointers reach its caller.
KEEP static void unit(void) {
    __asm__ volatile("" ::"r"(__builtin_frame_address(0)));
    for (unsigned step = 0; step < 60000; step++)
        __asm__ volatile("" : "+r"(step));
}

KEEP static void pull(void) {
    static char buffer[1 << 18];
    if (read(from, buffer, sizeof buffer) < 0 || write(to, buffer, sizeof buffer) < 0)
        _exit(3);
    NO_TAIL_CALL;
}

KEEP static void descend(int depth) {
    if (depth > 0) {
        descend(depth - 1);
    } else {
        unit();
        if (mixed)
            pull();
    }
    NO_TAIL_CALL;
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "now"))
        return printf("%lld\n", clock_ns(CLOCK_MONOTONIC)) < 0;
    if (argc != 3)
        return 2;
    mixed = !strcmp(argv[1], "mixed");
    from = open("/dev/zero", O_RDONLY);
    to = open("/dev/null", O_WRONLY);
    if (getchar() == EOF)
        return 3;
    long long units = 0, cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    long long end = clock_ns(CLOCK_MONOTONIC) + (long long)(atof(argv[2]) * 1e9);
    while (clock_ns(CLOCK_MONOTONIC) < end) {
        descend(DEPTH);
        units++;
    }
    printf("%lld %lld\n", units, clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    return 0;
}
