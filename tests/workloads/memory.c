// memory SECONDS WHAT: touches memory in known amounts, or keeps more and more of it.
// touch: some functions touch so much each, whatever the time: `faults N` for all of them, and `NAME BYTES`.
// verdicts: three processes, `leak PID` (1 MiB a second, under churn), `start PID` (grows at first), `steady PID` (churns).
// grow: keeps 8 MiB more a second, in small pieces.
#include "work.h"
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { MIB = 1 << 20, PAGE = 4096 };

static long faults(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_minflt;
}

// Told by the function that they stand in: the innermost of the program's own is the one that touches.
#define TOUCH(memory, bytes)                                                                                           \
    for (size_t at = 0; at < (bytes); at += PAGE)                                                                      \
    ((volatile char *)(memory))[at] = 1

// Maps, touches and unmaps, again and again.
#define CYCLE(bytes, times, flags)                                                                                     \
    for (int i = 0; i < (times); i++) {                                                                                \
        char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, (flags) | MAP_ANONYMOUS, -1, 0);                      \
        madvise(memory, bytes, MADV_NOHUGEPAGE);                                                                       \
        TOUCH(memory, bytes);                                                                                          \
        munmap(memory, bytes);                                                                                         \
    }

KEEP void touch_mapped(void) {
    CYCLE(8 * MIB, 100, MAP_PRIVATE)
}

KEEP void touch_shared(void) {
    CYCLE(8 * MIB, 50, MAP_SHARED)
}

// Small pieces from below the break.
KEEP void touch_heap(void) {
    for (int i = 0; i < 300 * MIB / 1024; i++)
        memset(malloc(1000), 1, 1000);
}

static void keep(size_t bytes) {
    for (; bytes >= 1024; bytes -= 1024)
        memset(malloc(1000), 1, 1000);
}

// Takes up to 8 MiB and gives it back.
static void churn(void) {
    size_t bytes = MIB + rand() % (7 * MIB);
    char *memory = malloc(bytes);
    TOUCH(memory, bytes);
    free(memory);
}

KEEP void leak(void) {
    for (; going(); usleep(100000)) {
        keep(MIB / 10);
        churn();
    }
}

KEEP void start(void) {
    long long until_ns = clock_ns(CLOCK_MONOTONIC) + 4000000000LL;
    for (; going(); usleep(100000)) {
        if (clock_ns(CLOCK_MONOTONIC) < until_ns)
            keep(MIB);
        churn();
    }
}

KEEP void steady(void) {
    for (; going(); usleep(100000))
        churn();
}

// By the kernel's own account, which does not count all faults of shared memory everywhere.
static void told(const char *name, void (*touch)(void)) {
    long before = faults();
    touch();
    note("%s %ld", name, (faults() - before) * PAGE);
}

static void run(const char *name, void (*work)(void)) {
    pid_t pid = fork();
    if (pid == 0) {
        work();
        _exit(0);
    }
    note("%s %d", name, pid);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    // A page that is 512 times as large would be a matter of chance.
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    const char *what = argc > 2 ? argv[2] : "touch";
    if (!strcmp(what, "touch")) {
        long before = faults();
        told("touch_mapped", touch_mapped);
        told("touch_shared", touch_shared);
        told("touch_heap", touch_heap);
        note("faults %ld", faults() - before);
    } else if (!strcmp(what, "verdicts")) {
        run("leak", leak);
        run("start", start);
        run("steady", steady);
        while (wait(NULL) > 0)
            ;
    } else {
        for (; going(); usleep(20000))
            keep(8 * MIB / 50);
    }
    return finish();
}
