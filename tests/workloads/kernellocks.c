// Threads that wait for locks of the kernel: which, and for how long, is known.
//
//   kernellocks SECONDS KIND
//   pipe:  one thread writes to a pipe from memory that another fills in after 5 ms only, by userfaultfd, and has the pipe's mutex
//          meanwhile; a third one writes to the pipe then, in `want_the_pipe`: a hundred times in a second, `none` where that is refused
//   fork:  one thread forks, and copies 512 MiB of mappings for that, again and again; another maps and unmaps a page, in `want_to_map`
//   files: four threads open and close files, whose table they share
// The waiting thread's own sums, by its clock, are `waits COUNT` and `waited_ns NS`, of calls that took longer than 100 us: who comes when
// the other is ready does not wait.
#include "work.h"
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static long long waited_ns, waits;
static int pipes[2], faults, is_missed;
static char *memory;
static long page, rounds;

KEEP void nap(int microseconds) {
    struct timespec length = {0, microseconds * 1000L};
    nanosleep(&length, NULL);
    NO_TAIL_CALL;
}

static void waited_since(long long before) {
    long long ns = clock_ns(CLOCK_MONOTONIC) - before;
    if (ns < 100000)
        return;
    waited_ns += ns;
    waits++;
}

static void must(int is_done, const char *what) {
    if (!is_done) {
        perror(what);
        exit(3);
    }
}

// Fills in what another thread misses, 5 ms after a third one was told that it does.
static void *fill(void *argument) {
    static char filled[1 << 16];
    struct uffd_msg message;
    while (read(faults, &message, sizeof message) == sizeof message) {
        long long one = 1;
        must(write(is_missed, &one, sizeof one) == sizeof one, "write");
        nap(5000);
        struct uffdio_copy copy = {.dst = message.arg.pagefault.address & -page, .src = (unsigned long)filled, .len = page};
        must(ioctl(faults, UFFDIO_COPY, &copy) == 0, "UFFDIO_COPY");
    }
    return argument;
}

KEEP void write_what_is_missing(void) {
    must(write(pipes[1], memory, 100) == 100, "write");
    NO_TAIL_CALL;
}

// For each write from missing memory, one that has to wait for it; then both are read, so that the pipe has room.
KEEP void want_the_pipe(void) {
    char bytes[101];
    long long count, before;
    must(read(is_missed, &count, sizeof count) == sizeof count, "read");
    before = clock_ns(CLOCK_MONOTONIC);
    must(write(pipes[1], "x", 1) == 1, "write");
    waited_since(before);
    for (int left = sizeof bytes; left > 0;) {
        int done = read(pipes[0], bytes, left);
        must(done > 0, "read");
        left -= done;
    }
    NO_TAIL_CALL;
}

static void *write_often(void *argument) {
    for (long at = 0; at < rounds; at++) {
        must(madvise(memory, page, MADV_DONTNEED) == 0, "madvise");
        write_what_is_missing();
        // Until the other has read.
        nap(2000);
    }
    return argument;
}

static void pipe_lock(void) {
    pthread_t filler, writer;
    page = sysconf(_SC_PAGESIZE);
    faults = syscall(SYS_userfaultfd, O_CLOEXEC);
    if (faults < 0) {
        note("none");
        exit(0);
    }
    struct uffdio_api api = {.api = UFFD_API};
    must(ioctl(faults, UFFDIO_API, &api) == 0, "UFFDIO_API");
    memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(memory != MAP_FAILED, "mmap");
    struct uffdio_register all = {.range = {(unsigned long)memory, page}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    must(ioctl(faults, UFFDIO_REGISTER, &all) == 0, "UFFDIO_REGISTER");
    is_missed = eventfd(0, 0);
    must(is_missed >= 0 && pipe(pipes) == 0, "pipe");
    pthread_create(&filler, NULL, fill, NULL);
    pthread_create(&writer, NULL, write_often, NULL);
    for (long at = 0; at < rounds; at++)
        want_the_pipe();
    pthread_join(writer, NULL);
}

KEEP void want_to_map(void) {
    long long before = clock_ns(CLOCK_MONOTONIC);
    void *mapped = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    waited_since(before);
    must(mapped != MAP_FAILED, "mmap");
    nap(100);
    before = clock_ns(CLOCK_MONOTONIC);
    munmap(mapped, page);
    waited_since(before);
    NO_TAIL_CALL;
}

static void *fork_often(void *argument) {
    while (going()) {
        int child = fork();
        if (child == 0)
            _exit(0);
        waitpid(child, NULL, 0);
        nap(1000);
    }
    return argument;
}

static void fork_lock(void) {
    size_t bytes = 512UL << 20;
    pthread_t forker;
    page = sysconf(_SC_PAGESIZE);
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(memory != MAP_FAILED, "mmap");
    // Of small pages each has an entry that is copied.
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < bytes; at += page)
        memory[at] = 1;
    pthread_create(&forker, NULL, fork_often, NULL);
    while (going())
        want_to_map();
    pthread_join(forker, NULL);
}

static void *open_often(void *argument) {
    while (going())
        for (int at = 0; at < 100; at++)
            close(open("/dev/null", O_RDONLY));
    return argument;
}

static void table_lock(void) {
    pthread_t others[3];
    for (int at = 0; at < 3; at++)
        pthread_create(&others[at], NULL, open_often, NULL);
    open_often(NULL);
    for (int at = 0; at < 3; at++)
        pthread_join(others[at], NULL);
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    const char *kind = argc > 2 ? argv[2] : "pipe";
    rounds = (long)(seconds * 100);
    begin(argc, argv);
    if (!strcmp(kind, "pipe"))
        pipe_lock();
    if (!strcmp(kind, "fork"))
        fork_lock();
    if (!strcmp(kind, "files"))
        table_lock();
    note("waits %lld", waits);
    note("waited_ns %lld", waited_ns);
    return finish();
}
