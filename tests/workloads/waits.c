// waits SECONDS KIND: threads that wait in a known way.
//   sleeps:   one takes naps of 20 ms, another of 5 ms
//   awake:    on each CPU one that runs when nobody else wants to, so that none is ever idle
//   crowded:  four threads that always want the one CPU they may have
//   pingpong: two threads that hand a byte to and fro through pipes
//   hurry:    the same on one CPU, waiting in turn in two functions, three times as long in one of them
//   deadlock: two threads, of which each waits for the lock that the other has
//   pool:     three threads of which a fourth wakes one for a moment's work, twenty times a second
//   silent:   a thread that has waited since before `ready` for a byte that never comes
//   chain:    one waits for another that waits for a third, which naps
//   storm:    threads that end after a tenth of a millisecond of work, 500 of them, one after another
// Each thread logs at its end what the kernel's own accounts say of it (account.h).
// A nap logs nothing, but their lengths by the clock are summed up: `slept_ns`.
#include "account.h"
#include <pthread.h>
#include <string.h>

KEEP void nap(int milliseconds) {
    struct timespec length = {0, milliseconds * 1000000L};
    nanosleep(&length, NULL);
    NO_TAIL_CALL;
}

static void *naps(void *argument) {
    int milliseconds = (int)(long)argument;
    long long slept = 0;
    while (going()) {
        long long before = clock_ns(CLOCK_MONOTONIC);
        nap(milliseconds);
        slept += clock_ns(CLOCK_MONOTONIC) - before;
    }
    note("slept_ns %lld", slept);
    account();
    return NULL;
}

KEEP void hustle(void) {
    while (going())
        spin_units(5);
}

static void *crowded(void *argument) {
    hustle();
    account();
    return argument;
}

static int pipes[2][2];

KEEP int take_byte(int file) {
    char byte;
    int got = read(file, &byte, 1);
    if (got < 0)
        _exit(3);
    NO_TAIL_CALL;
    return got;
}

static void *pong(void *argument) {
    char byte = 1;
    while (take_byte(pipes[0][0]))
        if (write(pipes[1][1], &byte, 1) < 0)
            _exit(3);
    account();
    return argument;
}

static void *ping(void *argument) {
    char byte = 1;
    while (going()) {
        if (write(pipes[0][1], &byte, 1) < 0)
            _exit(3);
        take_byte(pipes[1][0]);
    }
    close(pipes[0][1]);
    account();
    return argument;
}

KEEP void take_long(void) {
    take_byte(pipes[1][0]);
    NO_TAIL_CALL;
}

KEEP void take_short(void) {
    take_byte(pipes[1][0]);
    NO_TAIL_CALL;
}

static void *hurried(void *argument) {
    long long took[2] = {0, 0}, count = 0;
    while (going()) {
        char byte = count++ & 1;
        if (write(pipes[0][1], &byte, 1) < 0)
            _exit(3);
        long long before = clock_ns(CLOCK_MONOTONIC);
        if (byte)
            take_long();
        else
            take_short();
        took[(int)byte] += clock_ns(CLOCK_MONOTONIC) - before;
    }
    close(pipes[0][1]);
    note("waits %lld", count);
    note("long_ns %lld", took[1]);
    note("short_ns %lld", took[0]);
    account();
    return argument;
}

static void *obliging(void *argument) {
    char byte;
    while (read(pipes[0][0], &byte, 1) == 1) {
        spin_units(byte ? 3 : 1);
        if (write(pipes[1][1], &byte, 1) < 0)
            _exit(3);
    }
    account();
    return argument;
}

static pthread_mutex_t locks[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static pthread_barrier_t both_hold;

KEEP void want_the_other(long own) {
    pthread_mutex_lock(&locks[1 - own]);
    NO_TAIL_CALL;
}

static void *deadlocked(void *argument) {
    pthread_mutex_lock(&locks[(long)argument]);
    pthread_barrier_wait(&both_hold);
    want_the_other((long)argument);
    return NULL;
}

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t pool_has_work = PTHREAD_COND_INITIALIZER;
static int pool_work;

KEEP void *worker_loop(void *argument) {
    while (going()) {
        pthread_mutex_lock(&pool_lock);
        while (!pool_work)
            pthread_cond_wait(&pool_has_work, &pool_lock);
        pool_work--;
        pthread_mutex_unlock(&pool_lock);
        spin_units(1);
    }
    return argument;
}

static void pool(void) {
    pthread_t threads[3];
    for (int at = 0; at < 3; at++)
        if (pthread_create(&threads[at], NULL, worker_loop, NULL))
            _exit(3);
    while (going()) {
        nap(50);
        pthread_mutex_lock(&pool_lock);
        pool_work++;
        pthread_cond_signal(&pool_has_work);
        pthread_mutex_unlock(&pool_lock);
    }
}

static void *silent(void *argument) {
    take_byte(pipes[0][0]);
    return argument;
}

static void *first_of_chain(void *argument) {
    while (going()) {
        char byte = 1;
        nap(20);
        if (write(pipes[0][1], &byte, 1) < 0)
            _exit(3);
    }
    close(pipes[0][1]);
    return argument;
}

static void *middle_of_chain(void *argument) {
    char byte;
    while (read(pipes[0][0], &byte, 1) == 1)
        if (write(pipes[1][1], &byte, 1) < 0)
            _exit(3);
    close(pipes[1][1]);
    return argument;
}

KEEP void wait_for_chain(void) {
    char byte;
    while (read(pipes[1][0], &byte, 1) == 1)
        ;
    NO_TAIL_CALL;
}

static void *last_of_chain(void *argument) {
    wait_for_chain();
    return argument;
}

static void *awake(void *argument) {
    struct sched_param none = {0};
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET((long)argument, &own);
    if (sched_setaffinity(0, sizeof own, &own) || sched_setscheduler(0, SCHED_IDLE, &none))
        _exit(3);
    hustle();
    return argument;
}

static void *brief(void *argument) {
    spin_units(5);
    return argument;
}

static void run(void *(*what[])(void *), long arguments[], int count) {
    pthread_t threads[8];
    for (int at = 0; at < count; at++)
        if (pthread_create(&threads[at], NULL, what[at], (void *)arguments[at]))
            _exit(3);
    for (int at = 0; at < count; at++)
        pthread_join(threads[at], NULL);
}


int main(int argc, char **argv) {
    const char *kind = argc > 2 ? argv[2] : "sleeps";
    if (pipe(pipes[0]) || pipe(pipes[1]))
        return 3;
    if (!strcmp(kind, "silent")) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, silent, NULL))
            return 3;
        usleep(100000);
        begin(argc, argv);
        while (going())
            nap(50);
        return finish();
    }
    begin(argc, argv);
    if (!strcmp(kind, "sleeps"))
        run((void *(*[])(void *)){naps, naps}, (long[]){20, 5}, 2);
    if (!strcmp(kind, "awake")) {
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        pthread_t threads[8];
        for (long at = 0; at < cpus && at < 8; at++)
            if (pthread_create(&threads[at], NULL, awake, (void *)at))
                return 3;
        while (going())
            nap(50);
        return finish();
    }
    if (!strcmp(kind, "crowded") || !strcmp(kind, "hurry")) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(0, &one);
        if (sched_setaffinity(0, sizeof one, &one))
            return 3;
    }
    if (!strcmp(kind, "crowded"))
        run((void *(*[])(void *)){crowded, crowded, crowded, crowded}, (long[]){0, 0, 0, 0}, 4);
    if (!strcmp(kind, "hurry"))
        run((void *(*[])(void *)){hurried, obliging}, (long[]){0, 0}, 2);
    if (!strcmp(kind, "pingpong"))
        run((void *(*[])(void *)){ping, pong}, (long[]){0, 0}, 2);
    if (!strcmp(kind, "deadlock")) {
        pthread_barrier_init(&both_hold, NULL, 2);
        pthread_t threads[2];
        nap(200);
        for (long at = 0; at < 2; at++)
            if (pthread_create(&threads[at], NULL, deadlocked, (void *)at))
                return 3;
        while (going())
            nap(50);
        return finish();
    }
    if (!strcmp(kind, "pool"))
        pool();
    if (!strcmp(kind, "chain"))
        run((void *(*[])(void *)){first_of_chain, middle_of_chain, last_of_chain}, (long[]){0, 0, 0}, 3);
    if (!strcmp(kind, "storm")) {
        int started = 0;
        for (; started < 500; started++)
            run((void *(*[])(void *)){brief}, (long[]){0}, 1);
        note("threads %d", started);
    }
    return finish();
}
