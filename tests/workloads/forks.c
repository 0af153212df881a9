// forks [SECONDS]: in turns of equal work, parent_work in this process and child_work in a child forked for it.
#include "work.h"
#include <sys/wait.h>

KEEP void parent_work(void) {
    spin_ms(20);
    NO_TAIL_CALL;
}

KEEP void child_work(void) {
    spin_ms(20);
    NO_TAIL_CALL;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    while (going()) {
        pid_t child = fork();
        if (child < 0)
            return 3;
        if (child == 0) {
            child_work();
            _exit(0);
        }
        waitpid(child, NULL, 0);
        parent_work();
    }
    return finish();
}
