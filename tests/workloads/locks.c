// Threads that wait for locks: what they wait for, how long, and who has it is known.
//
//   locks SECONDS KIND
//   hot:       four threads that each want `hot_lock` again and again, and have it for 2 ms in `work_with_it`
//   pi:        the same, of a mutex that lends its owner the priority of who waits
//   semaphore: the same, of a semaphore
//   rwlock:    three threads that read for 3 ms, one after another so that there always is one, and one that wants to write
//   queue:     a thread that waits in a condition variable for work that another has for it every 5 ms
//   synced:    two threads, of which one syncs a file while it has the lock
//   shared:    two processes and a mutex in a file that both map, its path behind KIND
//   cycle2:    two threads of which each waits for the lock that the other has; cycle3: three
//   itself:    a thread that wants what it has; left: one that wants what another had that has ended; forked: a child that wants what
//              another thread of its parent had when that forked
//   timed:     one thread has the lock all the time, another gives up after 20 ms, again and again; two more want one another's for
//              200 ms each, and go on
//   pingpong, contended, uncontended: for measuring what it costs, as many `rounds` as there is time for: two threads on one CPU that
//              wake one another by a futex, four that always want one mutex, four that each have one of their own
//   signs:     threads that wait for no lock: at a barrier, and for the end of others
// The threads' own sums, by their clock, are `waits COUNT` and `waited_ns NS`, of calls that took longer than 100 us.
#include "work.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long long waited_ns, waits;

KEEP void nap(int microseconds) {
    struct timespec length = {0, microseconds * 1000L};
    nanosleep(&length, NULL);
    NO_TAIL_CALL;
}

static void waited_since(long long before) {
    long long ns = clock_ns(CLOCK_MONOTONIC) - before;
    if (ns < 100000)
        return;
    __atomic_add_fetch(&waited_ns, ns, __ATOMIC_RELAXED);
    __atomic_add_fetch(&waits, 1, __ATOMIC_RELAXED);
}

pthread_mutex_t hot_lock = PTHREAD_MUTEX_INITIALIZER;
sem_t hot_semaphore;
static int is_semaphore;

KEEP void work_with_it(void) {
    nap(2000);
    NO_TAIL_CALL;
}

KEEP void want_it(void) {
    long long before = clock_ns(CLOCK_MONOTONIC);
    if (is_semaphore)
        sem_wait(&hot_semaphore);
    else
        pthread_mutex_lock(&hot_lock);
    waited_since(before);
    NO_TAIL_CALL;
}

static void *hot(void *argument) {
    while (going()) {
        want_it();
        work_with_it();
        if (is_semaphore)
            sem_post(&hot_semaphore);
        else
            pthread_mutex_unlock(&hot_lock);
        // So that another comes first.
        nap(200);
    }
    return argument;
}

static pthread_rwlock_t book = PTHREAD_RWLOCK_INITIALIZER;

KEEP void read_the_book(void) {
    pthread_rwlock_rdlock(&book);
    nap(3000);
    pthread_rwlock_unlock(&book);
    NO_TAIL_CALL;
}

KEEP void write_the_book(void) {
    long long before = clock_ns(CLOCK_MONOTONIC);
    pthread_rwlock_wrlock(&book);
    waited_since(before);
    pthread_rwlock_unlock(&book);
    NO_TAIL_CALL;
}

static void *reader(void *argument) {
    nap((int)(long)argument * 1000);
    while (going())
        read_the_book();
    return NULL;
}

static void *writer(void *argument) {
    while (going()) {
        write_the_book();
        nap(10000);
    }
    return argument;
}

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t has_work = PTHREAD_COND_INITIALIZER;
static int work;

static void *consumer(void *argument) {
    while (going()) {
        pthread_mutex_lock(&queue_lock);
        while (!work)
            pthread_cond_wait(&has_work, &queue_lock);
        work = 0;
        pthread_mutex_unlock(&queue_lock);
    }
    return argument;
}

static void *producer(void *argument) {
    while (going()) {
        nap(5000);
        pthread_mutex_lock(&queue_lock);
        work = 1;
        pthread_mutex_unlock(&queue_lock);
        pthread_cond_signal(&has_work);
    }
    // The consumer may wait once more.
    nap(5000);
    pthread_mutex_lock(&queue_lock);
    work = 1;
    pthread_mutex_unlock(&queue_lock);
    pthread_cond_signal(&has_work);
    return argument;
}

static pthread_mutex_t journal_lock = PTHREAD_MUTEX_INITIALIZER;
static int journal;

KEEP void sync_the_journal(void) {
    if (write(journal, "a line of it\n", 13) < 0 || fsync(journal))
        _exit(4);
    NO_TAIL_CALL;
}

static void *syncs(void *argument) {
    while (going()) {
        pthread_mutex_lock(&journal_lock);
        sync_the_journal();
        pthread_mutex_unlock(&journal_lock);
        nap(100);
    }
    return argument;
}

KEEP void want_the_journal(void) {
    long long before = clock_ns(CLOCK_MONOTONIC);
    pthread_mutex_lock(&journal_lock);
    waited_since(before);
    pthread_mutex_unlock(&journal_lock);
    NO_TAIL_CALL;
}

static void *wants_journal(void *argument) {
    while (going()) {
        want_the_journal();
        nap(50);
    }
    return argument;
}

pthread_mutex_t cycle_locks[3] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static pthread_barrier_t all_have_one;
static long threads_of_cycle;

KEEP void want_the_next(long own) {
    pthread_mutex_lock(&cycle_locks[(own + 1) % threads_of_cycle]);
    NO_TAIL_CALL;
}

static pthread_mutex_t lost_lock = PTHREAD_MUTEX_INITIALIZER;

static void *takes_it(void *argument) {
    pthread_mutex_lock(&lost_lock);
    // Until its parent has forked; or it ends with it.
    if (argument)
        nap(200000);
    return NULL;
}

KEEP void want_what_is_lost(void) {
    pthread_mutex_lock(&lost_lock);
    NO_TAIL_CALL;
}

static void *wants_it(void *argument) {
    if (argument)
        pthread_mutex_lock(&lost_lock);
    want_what_is_lost();
    return NULL;
}

static void *in_cycle(void *argument) {
    pthread_mutex_lock(&cycle_locks[(long)argument]);
    pthread_barrier_wait(&all_have_one);
    want_the_next((long)argument);
    return NULL;
}

KEEP void give_up(pthread_mutex_t *lock, int milliseconds) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += milliseconds * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    long long before = clock_ns(CLOCK_MONOTONIC);
    if (!pthread_mutex_timedlock(lock, &until))
        pthread_mutex_unlock(lock);
    waited_since(before);
    NO_TAIL_CALL;
}

static void *has_it_all_the_time(void *argument) {
    pthread_mutex_lock(&hot_lock);
    while (going())
        nap(50000);
    pthread_mutex_unlock(&hot_lock);
    return argument;
}

static void *gives_up(void *argument) {
    nap(20000);
    while (going())
        give_up(&hot_lock, 20);
    return argument;
}

static void *wants_another(void *argument) {
    long own = (long)argument;
    while (going()) {
        pthread_mutex_lock(&cycle_locks[own]);
        nap(5000);
        give_up(&cycle_locks[1 - own], 200);
        pthread_mutex_unlock(&cycle_locks[own]);
        nap(1000 * (own + 1));
    }
    return NULL;
}

static int turn;
static long long rounds;

static void take_turns(int own) {
    long long done = 0;
    for (; going(); done++) {
        while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != own && going()) {
            struct timespec a_while = {0, 100000000};
            syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, !own, &a_while, NULL, 0);
        }
        __atomic_store_n(&turn, !own, __ATOMIC_RELEASE);
        syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    __atomic_add_fetch(&rounds, done, __ATOMIC_RELAXED);
}

static void *takes_turns(void *argument) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof one, &one);
    take_turns((int)(long)argument);
    return NULL;
}

static void *locks_and_unlocks(void *argument) {
    pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER, *lock = argument ? argument : &own;
    long long done = 0;
    while (going())
        for (int times = 0; times < 1000; times++, done++) {
            pthread_mutex_lock(lock);
            for (volatile int step = 0; step < 100; step++)
                ;
            pthread_mutex_unlock(lock);
            for (volatile int step = 0; step < 100; step++)
                ;
        }
    __atomic_add_fetch(&rounds, done, __ATOMIC_RELAXED);
    return NULL;
}

static pthread_barrier_t every_time;

static void *meets(void *argument) {
    for (int times = 0; times < 20; times++) {
        nap(argument ? 5000 : 1000);
        pthread_barrier_wait(&every_time);
    }
    return NULL;
}

static void *brief(void *argument) {
    nap(5000);
    return argument;
}

static void run(void *(*each)(void *), int count, void *(*other)(void *)) {
    pthread_t threads[8];
    for (long at = 0; at < count; at++)
        pthread_create(&threads[at], NULL, each, (void *)at);
    if (other)
        pthread_create(&threads[count], NULL, other, NULL);
    for (int at = 0; at < count + !!other; at++)
        pthread_join(threads[at], NULL);
}

static int sums(void) {
    note("waits %lld", waits);
    note("waited_ns %lld", waited_ns);
    return finish();
}

int main(int argc, char **argv) {
    begin(argc, argv);
    const char *kind = argc > 2 ? argv[2] : "";
    if (!strcmp(kind, "pi")) {
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
        pthread_mutex_init(&hot_lock, &attributes);
    }
    is_semaphore = !strcmp(kind, "semaphore");
    sem_init(&hot_semaphore, 0, 1);
    if (!strcmp(kind, "hot") || !strcmp(kind, "pi") || is_semaphore)
        run(hot, 4, NULL);
    if (!strcmp(kind, "rwlock"))
        run(reader, 3, writer);
    if (!strcmp(kind, "queue"))
        run(consumer, 1, producer);
    if (!strcmp(kind, "synced")) {
        journal = open("journal", O_CREAT | O_WRONLY | O_APPEND, 0600);
        run(syncs, 1, wants_journal);
    }
    if (!strcmp(kind, "shared") && argc > 3) {
        int file = open(argv[3], O_CREAT | O_RDWR, 0600);
        if (ftruncate(file, 4096))
            return 3;
        pthread_mutex_t *lock = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_mutex_init(lock, &attributes);
        pid_t child = fork();
        while (going()) {
            long long before = clock_ns(CLOCK_MONOTONIC);
            pthread_mutex_lock(lock);
            waited_since(before);
            work_with_it();
            pthread_mutex_unlock(lock);
            nap(200);
        }
        if (!child)
            _exit(0);
        waitpid(child, NULL, 0);
    }
    if (!strncmp(kind, "cycle", 5)) {
        threads_of_cycle = atol(kind + 5);
        pthread_barrier_init(&all_have_one, NULL, threads_of_cycle);
        pthread_t threads[3];
        for (long at = 0; at < threads_of_cycle && at < 3; at++)
            pthread_create(&threads[at], NULL, in_cycle, (void *)at);
        while (going())
            nap(50000);
        return finish();
    }
    if (!strcmp(kind, "itself") || !strcmp(kind, "left")) {
        pthread_t taker, wanter;
        int itself = !strcmp(kind, "itself");
        if (!itself) {
            pthread_create(&taker, NULL, takes_it, NULL);
            pthread_join(taker, NULL);
        }
        pthread_create(&wanter, NULL, wants_it, itself ? &lost_lock : NULL);
        while (going())
            nap(50000);
        return finish();
    }
    if (!strcmp(kind, "forked")) {
        pthread_t taker;
        pthread_create(&taker, NULL, takes_it, &lost_lock);
        nap(100000);
        int child = fork();
        if (child == 0)
            want_what_is_lost();
        while (going())
            nap(50000);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        return finish();
    }
    if (!strcmp(kind, "pingpong"))
        run(takes_turns, 2, NULL);
    if (strstr(kind, "contended")) {
        pthread_t threads[4];
        for (int at = 0; at < 4; at++)
            pthread_create(&threads[at], NULL, locks_and_unlocks, strcmp(kind, "contended") ? NULL : &hot_lock);
        for (int at = 0; at < 4; at++)
            pthread_join(threads[at], NULL);
    }
    if (rounds)
        note("rounds %lld", rounds);
    if (!strcmp(kind, "timed")) {
        pthread_t threads[4];
        void *(*each[])(void *) = {has_it_all_the_time, gives_up, wants_another, wants_another};
        for (long at = 0; at < 4; at++)
            pthread_create(&threads[at], NULL, each[at], (void *)(at & 1));
        for (int at = 0; at < 4; at++)
            pthread_join(threads[at], NULL);
    }
    if (!strcmp(kind, "signs")) {
        pthread_barrier_init(&every_time, NULL, 2);
        while (going()) {
            run(brief, 3, NULL);
            run(meets, 2, NULL);
        }
    }
    return sums();
}
