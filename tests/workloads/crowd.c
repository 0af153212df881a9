// crowd SECONDS THREADS: that many threads of which each takes one brief_work and then waits, beside a main thread that takes
// main_work all the time. Logs `threads COUNT`: how many could be started.
#include "work.h"
#include <pthread.h>

KEEP void brief_work(void) {
    spin_units(2);
    NO_TAIL_CALL;
}

KEEP void main_work(void) {
    while (going())
        spin_units(5);
}

static void *wait_after_work(void *argument) {
    brief_work();
    for (;;)
        pause();
    return argument;
}

int main(int argc, char **argv) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    int wanted = argc > 2 ? atoi(argv[2]) : 1000, started = 0;
    for (pthread_t thread; started < wanted; started++)
        if (pthread_create(&thread, &small, wait_after_work, NULL))
            break;
    note("threads %d", started);
    begin(argc, argv);
    main_work();
    return finish();
}
