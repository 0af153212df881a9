// many COUNT PROGRAM [ARGS...]: runs PROGRAM that many times, one after the other, and logs `children_cpu_ns N`.
#include "work.h"
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

int main(int argc, char **argv) {
    extern char **environ;
    if (argc < 3)
        return 2;
    for (int left = atoi(argv[1]); left > 0; left--) {
        pid_t child;
        int status;
        if (posix_spawn(&child, argv[2], NULL, NULL, argv + 2, environ) || waitpid(child, &status, 0) < 0 || status)
            return 3;
    }
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    note("children_cpu_ns %lld", (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000LL +
                                     (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL);
    return 0;
}
