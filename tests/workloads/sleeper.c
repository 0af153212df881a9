// sleeper [SECONDS]: sleeps all the time.
#include "work.h"

int main(int argc, char **argv) {
    begin(argc, argv);
    long long left = deadline_ns - clock_ns(CLOCK_MONOTONIC);
    struct timespec rest = {left / 1000000000, left % 1000000000};
    nanosleep(&rest, NULL);
    return finish();
}
