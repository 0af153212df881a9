// disk SECONDS DEVICE: requests to a block device whose number, sizes and lengths are known, all past the page cache.
//   From `reads`, 400 of 8 KiB, each from another place; from `writes`, 200 of 16 KiB; from `syncs`, 50 of 4 KiB, each followed by a
//   flush. `NAME COUNT BYTES NS` for each says how long they took by the clock, and the longest of them `NAME_longest NS`.
#include "work.h"
#include <string.h>

#define READS 400
#define WRITES 200
#define SYNCS 50

static long long longest_ns, all_ns;

static void took(long long since) {
    long long length = clock_ns(CLOCK_MONOTONIC) - since;
    all_ns += length;
    longest_ns = length > longest_ns ? length : longest_ns;
}

static void tell(const char *name, int count, long long bytes) {
    note("%s %d %lld %lld", name, count, bytes, all_ns);
    note("%s_longest %lld", name, longest_ns);
    longest_ns = all_ns = 0;
}

KEEP void reads(int file, char *buffer) {
    for (int at = 0; at < READS; at++) {
        long long since = clock_ns(CLOCK_MONOTONIC);
        if (pread(file, buffer, 8 << 10, (off_t)at * (24 << 10)) != 8 << 10)
            _exit(3);
        took(since);
    }
    tell("reads", READS, READS * (8LL << 10));
}

KEEP void writes(int file, char *buffer) {
    for (int at = 0; at < WRITES; at++) {
        long long since = clock_ns(CLOCK_MONOTONIC);
        if (pwrite(file, buffer, 16 << 10, (off_t)at * (48 << 10)) != 16 << 10)
            _exit(3);
        took(since);
    }
    tell("writes", WRITES, WRITES * (16LL << 10));
}

KEEP void syncs(int file, char *buffer) {
    for (int at = 0; at < SYNCS; at++) {
        if (pwrite(file, buffer, 4 << 10, (off_t)at * (48 << 10)) != 4 << 10)
            _exit(3);
        long long since = clock_ns(CLOCK_MONOTONIC);
        if (fdatasync(file))
            _exit(3);
        took(since);
    }
    tell("syncs", SYNCS, SYNCS * (4LL << 10));
}

int main(int argc, char **argv) {
    char *buffer;
    int file = open(argv[2], O_RDWR | O_DIRECT | O_CLOEXEC);
    if (file < 0 || posix_memalign((void **)&buffer, 4096, 16 << 10))
        return 3;
    memset(buffer, 'x', 16 << 10);
    begin(argc, argv);
    // Until the walker's tables are there.
    usleep(200000);
    reads(file, buffer);
    writes(file, buffer);
    syncs(file, buffer);
    return finish();
}
