// pages SECONDS DIRECTORY: page faults whose number is known by the kernel's own account. For each phase, which has a function of its
// own, `NAME PAGES MINOR MAJOR NS` says how many pages it needed, how many faults of each kind the account has (getrusage(2)), and how
// long all took by the clock.
//   anonymous: from `touch_anonymous`, new memory is written to;  heap: from `grow_heap`, the same by brk
//   copied:    from `read_into`, read(2) fills new memory: the kernel needs the pages
//   cold:      from `read_mapped`, a mapped file of which nothing is in memory is read;  private: from `write_private`, pages of
//              that, which are in memory now, are written to and so copied
// At the end `refused COUNT` accesses that are answered by a signal: they are faults that do not end.
#include "work.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define PAGES 300
#define PAGE 4096
#define BYTES ((size_t)PAGES * PAGE)
#define REFUSED 250

static struct rusage before;
static long long since_ns;

static void wants(int right) {
    if (!right)
        _exit(3);
}

static void begins(void) {
    wants(!getrusage(RUSAGE_THREAD, &before));
    since_ns = clock_ns(CLOCK_MONOTONIC);
}

static void ends(const char *name) {
    long long ns = clock_ns(CLOCK_MONOTONIC) - since_ns;
    struct rusage after;
    wants(!getrusage(RUSAGE_THREAD, &after));
    note("%s %d %ld %ld %lld", name, PAGES, after.ru_minflt - before.ru_minflt, after.ru_majflt - before.ru_majflt, ns);
}

static volatile char *map(int file, int way) {
    char *at = mmap(0, BYTES, PROT_READ | PROT_WRITE, way, file, 0);
    wants(at != MAP_FAILED && !madvise(at, BYTES, file < 0 ? MADV_NOHUGEPAGE : MADV_RANDOM));
    return at;
}

// No function: the compiler would make it part of others, and it would be told in their place.
#define WRITE_TO(memory)                                                                                                           \
    for (size_t at = 0; at < BYTES; at += PAGE)                                                                                    \
    (memory)[at] = 1

KEEP void touch_anonymous(void) {
    volatile char *memory = map(-1, MAP_PRIVATE | MAP_ANONYMOUS);
    begins();
    WRITE_TO(memory);
    ends("anonymous");
}

KEEP void grow_heap(void) {
    size_t end = (size_t)sbrk(BYTES + PAGE);
    volatile char *memory = (volatile char *)((end + PAGE - 1) & -PAGE);
    wants(end != (size_t)-1 && !madvise((void *)memory, BYTES, MADV_NOHUGEPAGE));
    begins();
    WRITE_TO(memory);
    ends("heap");
}

KEEP void read_into(int file) {
    volatile char *memory = map(-1, MAP_PRIVATE | MAP_ANONYMOUS);
    begins();
    wants(pread(file, (void *)memory, BYTES, 0) == (ssize_t)BYTES);
    ends("copied");
}

KEEP void read_mapped(int file) {
    volatile char *memory = map(file, MAP_SHARED);
    wants(!fsync(file) && !posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED));
    begins();
    for (size_t at = 0; at < BYTES; at += PAGE)
        (void)memory[at];
    ends("cold");
}

KEEP void write_private(int file) {
    volatile char *memory = map(file, MAP_PRIVATE);
    begins();
    WRITE_TO(memory);
    ends("private");
}

static sigjmp_buf back;

static void jump(int signal) { siglongjmp(back, signal); }

KEEP void refused(void) {
    volatile char *memory = map(-1, MAP_PRIVATE | MAP_ANONYMOUS);
    wants(!mprotect((void *)memory, BYTES, PROT_NONE) && signal(SIGSEGV, jump) != SIG_ERR);
    static volatile int count;
    while (count < REFUSED)
        if (!sigsetjmp(back, 1))
            memory[count * PAGE] = 1;
        else
            count++;
    note("refused %d", count);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    wants(argc > 2 && !chdir(argv[2]));
    // Until the walker's tables are there.
    usleep(200000);
    static char page[PAGE];
    int file = open("mapped", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    wants(file >= 0);
    for (int at = 0; at < PAGES; at++)
        wants(write(file, page, PAGE) == PAGE);
    touch_anonymous();
    grow_heap();
    read_into(file);
    read_mapped(file);
    write_private(file);
    refused();
    return finish();
}
