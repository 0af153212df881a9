// burn MILLISECONDS: takes that much CPU time in the function that the macro WORK names, and exits. It logs `work_ns N`,
// the time in that function; that of the whole process has what loading it took on top.
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
    long long start_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    WORK(start_ns + (long long)(milliseconds * 1e6));
    note("work_ns %lld", clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start_ns);
    return finish();
}
