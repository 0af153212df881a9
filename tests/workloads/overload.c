// overload SECONDS KIND [COUNT]: as much as can be asked of a scheduler.
//   switches: on each CPU COUNT pairs that hand a byte to and fro through pipes, as many that take turns by a futex, and as many
//             that yield to one another
//   pipes:    the first of these alone
//   crowd:    COUNT threads that wait for good, by turns for a futex, for a byte and for a day to pass, while others come and go
// Each thread of the first two logs at its end what the kernel's own accounts say of it (account.h), and how long it has been
// there: `alive TID NS`. The process logs `threads`, how many were started, of the first two `reads` and `writes`, how many
// system calls these were by /proc/self/io, and of the last `came`, how many came and went.
#include "account.h"
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

// What two threads share that pass the turn to one another.
struct pair {
    long cpu;
    int pipes[2][2];
    atomic_int turn;
    long long created_ns;
};

static void end(struct pair *pair) {
    account();
    note("alive %d %lld", (int)syscall(SYS_gettid), clock_ns(CLOCK_MONOTONIC) - pair->created_ns);
}

static void stay_on(long cpu) {
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(cpu, &own);
    if (sched_setaffinity(0, sizeof own, &own))
        _exit(3);
}

static void *ping(void *argument) {
    struct pair *pair = argument;
    char byte = 1;
    stay_on(pair->cpu);
    while (going())
        if (write(pair->pipes[0][1], &byte, 1) != 1 || read(pair->pipes[1][0], &byte, 1) != 1)
            _exit(3);
    close(pair->pipes[0][1]);
    end(pair);
    return NULL;
}

static void *pong(void *argument) {
    struct pair *pair = argument;
    char byte;
    stay_on(pair->cpu);
    while (read(pair->pipes[0][0], &byte, 1) == 1)
        if (write(pair->pipes[1][1], &byte, 1) != 1)
            _exit(3);
    end(pair);
    return NULL;
}

static void take_turns(struct pair *pair, int own) {
    stay_on(pair->cpu);
    for (;;) {
        int turn;
        while ((turn = atomic_load(&pair->turn)) == 1 - own)
            syscall(SYS_futex, &pair->turn, FUTEX_WAIT_PRIVATE, turn, NULL, NULL, 0);
        // A third value tells the other that this is over.
        int next = turn == own && going() ? 1 - own : 2;
        atomic_store(&pair->turn, next);
        syscall(SYS_futex, &pair->turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        if (next == 2)
            break;
    }
    end(pair);
}

static void *first(void *argument) {
    take_turns(argument, 0);
    return NULL;
}

static void *second(void *argument) {
    take_turns(argument, 1);
    return NULL;
}

static void *yields(void *argument) {
    struct pair *pair = argument;
    stay_on(pair->cpu);
    while (going())
        for (int times = 0; times < 64; times++)
            sched_yield();
    end(pair);
    return NULL;
}

static int silent_pipe[2];
static atomic_int silent_futex;

static void *waits_for_good(void *argument) {
    char byte;
    for (;;)
        switch ((long)argument % 3) {
        case 0:
            syscall(SYS_futex, &silent_futex, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
            break;
        case 1:
            if (read(silent_pipe[0], &byte, 1) < 0)
                _exit(3);
            break;
        default:
            sleep(86400);
        }
    return NULL;
}

static void *brief(void *argument) {
    spin_units(1);
    return argument;
}

static int crowd(int argc, char **argv, long count) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    if (pipe(silent_pipe))
        return 3;
    long started = 0, came = 0;
    for (pthread_t thread; started < count; started++)
        if (pthread_create(&thread, &small, waits_for_good, (void *)started))
            break;
    begin(argc, argv);
    for (pthread_t thread; going(); came++)
        if (pthread_create(&thread, &small, brief, NULL) || pthread_join(thread, NULL))
            return 3;
    note("threads %ld", started);
    note("came %ld", came);
    return finish();
}

// A number of /proc/self/io; 0 where the kernel does not count.
static unsigned long long io(const char *key) {
    char line[128];
    unsigned long long value = 0;
    FILE *file = fopen("/proc/self/io", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, key, strlen(key)))
            value = strtoull(line + strlen(key), NULL, 10);
    if (file)
        fclose(file);
    return value;
}

int main(int argc, char **argv) {
    const char *kind = argc > 2 ? argv[2] : "switches";
    long count = argc > 3 ? atol(argv[3]) : 1;
    if (!strcmp(kind, "crowd"))
        return crowd(argc, argv, count);
    void *(*what[])(void *) = {ping, pong, first, second, yields, yields};
    int kinds = strcmp(kind, "pipes") ? 6 : 2;
    begin(argc, argv);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN), started = 0;
    static pthread_t threads[6 * 64];
    for (long at = 0; at < cpus * count; at++) {
        struct pair *pair = calloc(3, sizeof *pair);
        for (int which = 0; which < kinds && started < 6 * 64; which++, started++) {
            struct pair *own = &pair[which / 2];
            own->cpu = at % cpus;
            own->created_ns = clock_ns(CLOCK_MONOTONIC);
            if ((which == 0 && (pipe(own->pipes[0]) || pipe(own->pipes[1]))) ||
                pthread_create(&threads[started], NULL, what[which], own))
                return 3;
        }
    }
    for (long at = 0; at < started; at++)
        pthread_join(threads[at], NULL);
    note("threads %ld", started);
    note("reads %llu", io("syscr: "));
    note("writes %llu", io("syscw: "));
    return finish();
}
