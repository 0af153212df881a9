// rename SECONDS NAME [NAME]: calls itself the first NAME and spins in before_rename; at half time it takes the second
// NAME and spins in after_rename. It logs `before_cpu_ns N`.
#include "work.h"
#include <sys/prctl.h>

KEEP void before_rename(void) {
    spin_units(10);
    NO_TAIL_CALL;
}

KEEP void after_rename(void) {
    spin_units(10);
    NO_TAIL_CALL;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    prctl(PR_SET_NAME, argv[2]);
    begin(argc, argv);
    long long half_ns = (deadline_ns + clock_ns(CLOCK_MONOTONIC)) / 2;
    while (going() && (argc < 4 || clock_ns(CLOCK_MONOTONIC) < half_ns))
        before_rename();
    note("before_cpu_ns %lld", clock_ns(CLOCK_PROCESS_CPUTIME_ID));
    if (argc > 3)
        prctl(PR_SET_NAME, argv[3]);
    while (going())
        after_rename();
    return finish();
}
