// faults SECONDS FILE MEGABYTES: writes a file past the page cache, and maps it; a thread of its own then touches one page after
// another, of which none is in memory: before each time round all are dropped. That thread logs what the kernel's own accounts
// say of it (account.h), `passes`, and by its own clocks `touch_ns`, the time it took to touch pages, and `touch_cpu_ns`, of that
// on a CPU. `unsupported` is logged where the file system has no way past the page cache.
#include "account.h"
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

static volatile char *mapped;
static size_t length;
static int file;

KEEP void touch_page(size_t at) {
    NEEDS_FRAME;
    (void)mapped[at];
}

static void *reader(void *argument) {
    long long touch_ns = 0, touch_cpu_ns = 0;
    long passes = 0;
    for (; going(); passes++) {
        if (madvise((void *)mapped, length, MADV_DONTNEED) || posix_fadvise(file, 0, length, POSIX_FADV_DONTNEED))
            _exit(3);
        long long before_ns = clock_ns(CLOCK_MONOTONIC), cpu_before_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        for (size_t at = 0; at < length && going(); at += 4096)
            touch_page(at);
        touch_ns += clock_ns(CLOCK_MONOTONIC) - before_ns;
        touch_cpu_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_before_ns;
    }
    account();
    note("passes %ld", passes);
    note("touch_ns %lld", touch_ns);
    note("touch_cpu_ns %lld", touch_cpu_ns);
    return argument;
}

int main(int argc, char **argv) {
    enum { BLOCK = 1 << 20 };
    if (argc < 4)
        return 2;
    int written = open(argv[2], O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0644);
    void *block = NULL;
    if (posix_memalign(&block, 4096, BLOCK))
        return 3;
    memset(block, 'x', BLOCK);
    for (long count = atol(argv[3]); count--; length += BLOCK)
        if (written < 0 || write(written, block, BLOCK) != BLOCK) {
            note("unsupported 1");
            return 0;
        }
    if (fsync(written))
        return 3;
    file = open(argv[2], O_RDONLY);
    mapped = mmap(NULL, length, PROT_READ, MAP_SHARED, file, 0);
    // One page at a time, and no more than is asked for.
    if (mapped == MAP_FAILED || madvise((void *)mapped, length, MADV_RANDOM) ||
        posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM))
        return 3;
    begin(argc, argv);
    pthread_t thread;
    if (pthread_create(&thread, NULL, reader, NULL))
        return 3;
    pthread_join(thread, NULL);
    return finish();
}
