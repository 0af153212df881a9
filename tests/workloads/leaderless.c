// leaderless [SECONDS]: the main thread ends at once; another one goes on, spinning in orphan_work.
#include "work.h"
#include <pthread.h>

KEEP void orphan_work(void) {
    spin_units(10);
    NO_TAIL_CALL;
}

static void *work(void *argument) {
    char state = 0;
    while (state != 'Z') {
        char line[256] = "";
        int file = open("/proc/self/stat", O_RDONLY);
        if (read(file, line, sizeof line - 1) < 0 || sscanf(line, "%*d (leaderless) %c", &state) != 1)
            _exit(3);
        close(file);
    }
    note("ready %d", (int)getpid());
    while (going())
        orphan_work();
    finish();
    _exit(0);
    return argument;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 0;
    deadline_ns = clock_ns(CLOCK_MONOTONIC) + (long long)((seconds > 0 ? seconds : FOREVER_SECONDS) * 1e9);
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, NULL))
        return 3;
    pthread_exit(NULL);
}
