// slow SECONDS FILE COUNT: so many reads of 4 KiB past the page cache, each from another place and by `waits_for_it`. `reads COUNT BYTES
// NS` says how long they took by the clock.
#include "work.h"

KEEP long long waits_for_it(int file, char *buffer, int at) {
    long long since = clock_ns(CLOCK_MONOTONIC);
    if (pread(file, buffer, 4 << 10, (off_t)at * (64 << 10)) != 4 << 10)
        _exit(3);
    return clock_ns(CLOCK_MONOTONIC) - since;
}

int main(int argc, char **argv) {
    char *buffer;
    int file = open(argv[2], O_RDONLY | O_DIRECT | O_CLOEXEC), count = atoi(argv[3]);
    if (file < 0 || posix_memalign((void **)&buffer, 4096, 4 << 10))
        return 3;
    begin(argc, argv);
    // Until the walker's tables are there.
    usleep(200000);
    long long all_ns = 0;
    for (int at = 0; at < count; at++)
        all_ns += waits_for_it(file, buffer, at);
    note("reads %d %d %lld", count, count * (4 << 10), all_ns);
    return finish();
}
