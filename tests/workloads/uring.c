// uring SECONDS FOLDER: operations of io_uring on a file whose number and sizes are known, four at a time.
//   From `ask`, 400 reads of 8 KiB and 200 writes of 4 KiB, and as many of a pipe that answers after 20 ms as `slow` says.
//   `reads COUNT BYTES NS` and `writes COUNT BYTES NS`: from asking to when all of a batch were there, for each of its operations.
#include "work.h"
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define BATCH 4
#define SLOW 10
#define THOUGHT_MS 20

static int ring;
static struct io_uring_params made;
static char *submitted, *completed;
static struct io_uring_sqe *entries;
static char buffers[BATCH][8 << 10];

static void *shared(size_t bytes, off_t what) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, what);
    if (memory == MAP_FAILED)
        _exit(3);
    return memory;
}

static void set_up(void) {
    ring = (int)syscall(SYS_io_uring_setup, 8, &made);
    if (ring < 0) {
        note("none 1");
        _exit(0);
    }
    submitted = shared(made.sq_off.array + made.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    completed = shared(made.cq_off.cqes + made.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
    entries = shared(made.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
}

// Asks for `count` operations, and takes what they give: how much in all.
KEEP long long ask(int operation, int file, int count, unsigned bytes, off_t at) {
    unsigned *tail = (unsigned *)(submitted + made.sq_off.tail), mask = *(unsigned *)(submitted + made.sq_off.ring_mask);
    for (int which = 0; which < count; which++) {
        unsigned place = (*tail + (unsigned)which) & mask;
        struct io_uring_sqe *entry = &entries[place];
        memset(entry, 0, sizeof *entry);
        entry->opcode = (unsigned char)operation;
        entry->fd = file;
        entry->addr = (unsigned long)buffers[which];
        entry->len = bytes;
        entry->off = at == -1 ? (unsigned long long)-1 : (unsigned long long)at + (unsigned)which * bytes;
        ((unsigned *)(submitted + made.sq_off.array))[place] = place;
    }
    __atomic_store_n(tail, *tail + (unsigned)count, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, count, count, IORING_ENTER_GETEVENTS, NULL, 0) != count)
        _exit(4);
    unsigned *head = (unsigned *)(completed + made.cq_off.head);
    unsigned slots = *(unsigned *)(completed + made.cq_off.ring_mask);
    long long sum = 0;
    for (int which = 0; which < count; which++) {
        struct io_uring_cqe *entry = (struct io_uring_cqe *)(completed + made.cq_off.cqes) + ((*head + (unsigned)which) & slots);
        if (entry->res < 0)
            _exit(5);
        sum += entry->res;
    }
    __atomic_store_n(head, *head + (unsigned)count, __ATOMIC_RELEASE);
    return sum;
}

static void rounds(const char *name, int operation, int file, int all, unsigned bytes) {
    long long sum = 0, took = 0;
    for (int done = 0; done < all; done += BATCH) {
        long long since = clock_ns(CLOCK_MONOTONIC);
        sum += ask(operation, file, BATCH, bytes, (off_t)done * bytes);
        took += BATCH * (clock_ns(CLOCK_MONOTONIC) - since);
    }
    note("%s %d %lld %lld", name, all, sum, took);
}

int main(int argc, char **argv) {
    char path[4096];
    int ends[2];
    snprintf(path, sizeof path, "%s/ring", argc > 2 ? argv[2] : ".");
    set_up();
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, 400 * (8 << 10)) || pipe(ends))
        return 2;
    rounds("writes", IORING_OP_WRITE, file, 200, 4 << 10);
    rounds("reads", IORING_OP_READ, file, 400, 8 << 10);
    if (fork() == 0) {
        for (int at = 0; at < SLOW; at++) {
            usleep(THOUGHT_MS * 1000);
            if (write(ends[1], "0123456789", 10) != 10)
                _exit(6);
        }
        _exit(0);
    }
    long long since = clock_ns(CLOCK_MONOTONIC), sum = 0;
    for (int at = 0; at < SLOW; at++)
        sum += ask(IORING_OP_READ, ends[0], 1, 10, -1);
    note("slow %d %lld %lld", SLOW, sum, clock_ns(CLOCK_MONOTONIC) - since);
    return 0;
}
