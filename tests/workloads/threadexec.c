// threadexec PROGRAM [ARGS...]: a thread that is not the main one replaces the process by PROGRAM.
#include "work.h"
#include <pthread.h>

static void *replace(void *arguments) {
    char **argv = arguments;
    execv(argv[0], argv);
    _exit(3);
}

int main(int argc, char **argv) {
    pthread_t thread;
    if (argc < 2 || pthread_create(&thread, NULL, replace, argv + 1))
        return 3;
    pause();
    return 4;
}
