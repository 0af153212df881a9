// named [SECONDS]: spins in the function that the macro WORK names.
#include "work.h"
#ifndef WORK
#define WORK named_work
#endif

KEEP void WORK(void) {
    spin_units(10);
    NO_TAIL_CALL;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    while (going())
        WORK();
    return finish();
}
