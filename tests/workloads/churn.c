// churn [SECONDS]: one thread after the other comes, spins in brief_thread for some milliseconds, and goes.
// It logs `threads COUNT`.
#include "work.h"
#include <pthread.h>

KEEP void brief_thread(void) {
    spin_units(250);
    NO_TAIL_CALL;
}

static void *work(void *argument) {
    pthread_setname_np(pthread_self(), "churning");
    brief_thread();
    return argument;
}

int main(int argc, char **argv) {
    int count = 0;
    begin(argc, argv);
    for (; going(); count++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL))
            return 3;
        pthread_join(thread, NULL);
    }
    note("threads %d", count);
    return finish();
}
