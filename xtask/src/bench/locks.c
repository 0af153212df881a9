// Work at locks, and how fast it was: `locks WAY N`.
//
//   turns: two threads on the first CPU wake one another N times each, by a futex
//   one:   four threads lock one mutex N times in all, and have it for some microseconds
//   own:   the same, but each thread has a mutex of its own
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4

static long amount;
static int turn;
static struct own {
    pthread_mutex_t lock;
    char apart[128];
} locks[THREADS];
static int are_own;

static void *take_turns(void *argument) {
    int own = (int)(long)argument;
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    sched_setaffinity(0, sizeof first, &first);
    for (long at = 0; at < amount; at++) {
        while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != own)
            syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, !own, NULL, NULL, 0);
        __atomic_store_n(&turn, !own, __ATOMIC_RELEASE);
        syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    return NULL;
}

static void work(int steps) {
    for (volatile int step = 0; step < steps; step++)
        ;
}

static void *lock_often(void *argument) {
    pthread_mutex_t *lock = &locks[are_own ? (long)argument : 0].lock;
    for (long at = 0; at < amount / THREADS; at++) {
        pthread_mutex_lock(lock);
        work(5000);
        pthread_mutex_unlock(lock);
        work(5000);
    }
    return NULL;
}

int main(int argc, char **argv) {
    int are_turns = argc > 2 && !strcmp(argv[1], "turns");
    int threads = are_turns ? 2 : THREADS;
    pthread_t ids[THREADS];
    struct timespec begin, end;
    if (argc < 3)
        return 2;
    are_own = !strcmp(argv[1], "own");
    amount = atol(argv[2]);
    for (int at = 0; at < THREADS; at++)
        pthread_mutex_init(&locks[at].lock, NULL);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long at = 0; at < threads; at++)
        pthread_create(&ids[at], NULL, are_turns ? take_turns : lock_often, (void *)at);
    for (int at = 0; at < threads; at++)
        pthread_join(ids[at], NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9;
    printf("%.1f rounds/sec\n", amount / seconds);
    return 0;
}
