// What the kernel's own accounts say of the calling thread, as a line that `tests/src/account.rs` reads.
#ifndef ACCOUNT_H
#define ACCOUNT_H

#include "work.h"
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

// `thread TID RUN_NS WAIT_NS SLICES VOLUNTARY INVOLUNTARY MAJOR_FAULTS`: on a CPU, waiting for one and how often it got one, by
// /proc/PID/task/TID/schedstat; how often it left one, and pages that it waited for, by getrusage(2).
static UNUSED void account(void) {
    char path[64];
    int tid = syscall(SYS_gettid);
    // What the thread has done since the last tick is in none of the account.
    sched_yield();
    snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", tid);
    FILE *file = fopen(path, "r");
    unsigned long long run = 0, wait = 0, slices = 0;
    struct rusage usage;
    if (file && fscanf(file, "%llu %llu %llu", &run, &wait, &slices) == 3 && !getrusage(RUSAGE_THREAD, &usage))
        note("thread %d %llu %llu %llu %ld %ld %ld", tid, run, wait, slices, usage.ru_nvcsw, usage.ru_nivcsw,
             usage.ru_majflt);
    if (file)
        fclose(file);
}

#endif
