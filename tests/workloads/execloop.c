// execloop TIMES: takes loop_work for some 2 ms, then executes itself with TIMES - 1. A process keeps its CPU time over exec.
#include "work.h"

KEEP void loop_work(void) {
    spin_units(100);
    NO_TAIL_CALL;
}

int main(int argc, char **argv) {
    int times = argc > 1 ? atoi(argv[1]) : 0;
    loop_work();
    if (times <= 1)
        return finish();
    char left[16];
    snprintf(left, sizeof left, "%d", times - 1);
    execl(argv[0], argv[0], left, (char *)NULL);
    return 3;
}
