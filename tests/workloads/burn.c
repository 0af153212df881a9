// burn MILLISECONDS: takes that much CPU time in the function that the macro WORK names, and exits.
#include "work.h"
#ifndef WORK
#define WORK burn_work
#endif

KEEP void WORK(long long until_ns) {
    do
        spin_units(5);
    while (clock_ns(CLOCK_PROCESS_CPUTIME_ID) < until_ns);
}

int main(int argc, char **argv) {
    double milliseconds = argc > 1 ? atof(argv[1]) : 50;
    WORK((long long)(milliseconds * 1e6));
    return finish();
}
