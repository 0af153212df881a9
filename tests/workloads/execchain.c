// execchain MILLISECONDS [NEXT...]: takes that much CPU time in the function that the macro STAGE names, then replaces
// itself by the first NEXT, which gets the same time and the rest of the chain.
#include "work.h"
#ifndef STAGE
#define STAGE stage_only
#endif

KEEP void STAGE(long long until_ns) {
    do
        spin_units(5);
    while (clock_ns(CLOCK_PROCESS_CPUTIME_ID) < until_ns);
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    STAGE(clock_ns(CLOCK_PROCESS_CPUTIME_ID) + (long long)(atof(argv[1]) * 1e6));
    if (argc == 2)
        return finish();
    char *next = argv[2];
    argv[2] = argv[1];
    argv[1] = next;
    execv(next, argv + 1);
    return 3;
}
