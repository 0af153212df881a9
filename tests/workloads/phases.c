// phases SECONDS BURN_MS SLEEP_MS: burns, then sleeps, in turns. It logs the beginning and the end of each phase, as times of
// CLOCK_MONOTONIC.
#include "work.h"

static KEEP void burn(long long until_ns) {
    while (clock_ns(CLOCK_MONOTONIC) < until_ns)
        spin_unit();
    NO_TAIL_CALL;
}

static KEEP void rest(long long ns) {
    struct timespec nap = {ns / 1000000000, ns % 1000000000};
    nanosleep(&nap, NULL);
    NO_TAIL_CALL;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    long long burn_ns = atoll(argv[2]) * 1000000LL, sleep_ns = atoll(argv[3]) * 1000000LL;
    while (going()) {
        long long start_ns = clock_ns(CLOCK_MONOTONIC);
        burn(start_ns + burn_ns);
        long long end_ns = clock_ns(CLOCK_MONOTONIC);
        note("burnt %lld %lld", start_ns, end_ns);
        start_ns = clock_ns(CLOCK_MONOTONIC);
        rest(sleep_ns);
        end_ns = clock_ns(CLOCK_MONOTONIC);
        note("slept %lld %lld", start_ns, end_ns);
    }
    return finish();
}
