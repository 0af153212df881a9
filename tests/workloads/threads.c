// threads SECONDS same COUNT: COUNT threads `same-N`, each with the 70/20/10 split.
// threads SECONDS own: threads `own-seventy`, `own-twenty`, `own-ten`, each in the function of that name only.
// At its end each thread logs `thread NAME TID CPU_NS`.
#include "split.h"
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>

struct worker {
    pthread_t handle;
    char name[16];
    void (*only)(void);
    unsigned seed;
};

static void *work(void *argument) {
    struct worker *worker = argument;
    pthread_setname_np(pthread_self(), worker->name);
    while (going()) {
        if (worker->only)
            worker->only();
        else
            split_round(&worker->seed);
    }
    note("thread %s %ld %lld", worker->name, syscall(SYS_gettid), clock_ns(CLOCK_THREAD_CPUTIME_ID));
    return NULL;
}

int main(int argc, char **argv) {
    static struct worker workers[16];
    static const char *names[] = {"own-seventy", "own-twenty", "own-ten"};
    static void (*const functions[])(void) = {take_seventy, take_twenty, take_ten};
    int own = argc > 2 && strcmp(argv[2], "own") == 0;
    int count = own ? 3 : argc > 3 ? atoi(argv[3]) : 4;
    if (count < 1 || count > 16)
        return 2;
    begin(argc, argv);
    for (int index = 0; index < count; index++) {
        struct worker *worker = &workers[index];
        worker->seed = index;
        if (own) {
            worker->only = functions[index];
            strcpy(worker->name, names[index]);
        } else {
            snprintf(worker->name, sizeof worker->name, "same-%d", index);
        }
        if (pthread_create(&worker->handle, NULL, work, worker))
            return 3;
    }
    for (int index = 0; index < count; index++)
        pthread_join(workers[index].handle, NULL);
    return finish();
}
