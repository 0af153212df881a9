// What the workloads share: identical units of CPU work, a deadline, and the log that the harness reads.
//
// A line of the log is `KEY VALUE...`. It goes to the file that WORKLOAD_LOG names (several processes may append to it),
// else to standard error.
#ifndef WORK_H
#define WORK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

// A function that stays one function: not inlined, cloned, merged with an equal one, or seen through by its callers.
#if defined(__has_attribute)
#if __has_attribute(noipa)
#define KEEP __attribute__((noipa))
#endif
#endif
#ifndef KEEP
#define KEEP __attribute__((noinline))
#endif
#define UNUSED __attribute__((unused))

// Stands after a call in tail position, so that the call is not turned into a jump and the caller stays on the stack.
#define NO_TAIL_CALL __asm__ volatile("" ::: "memory")

// Stands in a function that calls none: gcc leaves out its frame, with -fno-omit-frame-pointer too, and an unwinder that
// follows frame pointers then misses its caller.
#define NEEDS_FRAME __asm__ volatile("" ::"r"(__builtin_frame_address(0)))

// A workload that nothing kills ends after this long.
#ifndef FOREVER_SECONDS
#define FOREVER_SECONDS 120.0
#endif

// A constant number of dependent steps, some 20 microseconds: the same work wherever it is called from.
static KEEP UNUSED void spin_unit(void) {
    NEEDS_FRAME;
    for (unsigned step = 0; step < 60000; step++)
        __asm__ volatile("" : "+r"(step));
}

static UNUSED void spin_units(unsigned count) {
    while (count--)
        spin_unit();
}

static UNUSED long long clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

// Units of work until the calling thread has used this much CPU time, on whatever machine.
static UNUSED void spin_ms(unsigned milliseconds) {
    long long end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + milliseconds * 1000000LL;
    do
        spin_unit();
    while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns);
}

static UNUSED void note(const char *format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    if (length > (int)sizeof line - 2)
        length = sizeof line - 2;
    line[length] = '\n';
    const char *path = getenv("WORKLOAD_LOG");
    int file = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) : 2;
    if (write(file, line, length + 1) < 0)
        _exit(3);
    if (path)
        close(file);
}

static long long deadline_ns;

// Reads the run time in seconds from the first argument, 0 or none being "until killed", and says that it is ready.
static UNUSED void begin(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 0;
    if (seconds <= 0)
        seconds = FOREVER_SECONDS;
    deadline_ns = clock_ns(CLOCK_MONOTONIC) + (long long)(seconds * 1e9);
    note("ready %d", (int)getpid());
}

static UNUSED int going(void) { return clock_ns(CLOCK_MONOTONIC) < deadline_ns; }

// Says how much CPU time this process took, by its own clock.
static UNUSED int finish(void) {
    note("cpu_ns %lld", clock_ns(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}

#endif
