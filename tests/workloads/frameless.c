// frameless SECONDS DEPTH: what keeps no frame pointer, if built so: a recursion of DEPTH calls with memory taken from the stack
// at its end, sorting by libc, work in a signal handler, and system calls.
#include "work.h"
#include <alloca.h>
#include <signal.h>
#include <string.h>

static volatile unsigned long sink;
static volatile sig_atomic_t raised;

static KEEP void spin_frameless(unsigned steps) {
    for (unsigned step = 0; step < steps; step++)
        __asm__ volatile("" : "+r"(step));
}

KEEP void with_alloca(unsigned bytes) {
    char *block = alloca(bytes % 100 + 16);
    memset(block, 1, 16);
    spin_frameless(20000);
    sink += block[3];
}

KEEP void dive(unsigned depth) {
    if (depth == 0)
        with_alloca(sink);
    else
        dive(depth - 1);
    NO_TAIL_CALL;
}

static int compare(const void *left, const void *right) {
    spin_frameless(20);
    return *(const int *)left - *(const int *)right;
}

KEEP void handle(int number) {
    spin_frameless(20000);
    raised = number;
    NO_TAIL_CALL;
}

KEEP void raise_one(void) {
    raise(SIGUSR1);
    NO_TAIL_CALL;
}

KEEP void read_zeros(int file) {
    static char zeros[1 << 16];
    for (int times = 0; times < 8; times++)
        if (pread(file, zeros, sizeof zeros, 0) < 0)
            _exit(3);
}

int main(int argc, char **argv) {
    unsigned depth = argc > 2 ? (unsigned)atoi(argv[2]) : 30;
    int file = open("/dev/zero", O_RDONLY), numbers[500];
    signal(SIGUSR1, handle);
    begin(argc, argv);
    while (going()) {
        dive(depth);
        for (int at = 0; at < 500; at++)
            numbers[at] = (at * 7919) % 503;
        qsort(numbers, 500, sizeof numbers[0], compare);
        raise_one();
        read_zeros(file);
    }
    return finish();
}
