// clock [SECONDS]: asks for the time without end, which the vDSO answers.
#include "work.h"

KEEP void ask(void) {
    for (int round = 0; round < 10000; round++)
        clock_ns(CLOCK_MONOTONIC);
    NO_TAIL_CALL;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    while (going())
        ask();
    return finish();
}
