// kernel [SECONDS]: like dd, pulls zeroes through the kernel; nine tenths and more of the time are the kernel's.
#include "work.h"

KEEP void pull_zeroes(int from, int to) {
    static char buffer[1 << 20];
    for (int round = 0; round < 4; round++) {
        if (read(from, buffer, sizeof buffer) < 0 || write(to, buffer, sizeof buffer) < 0)
            _exit(3);
    }
    spin_unit();
}

int main(int argc, char **argv) {
    int from = open("/dev/zero", O_RDONLY), to = open("/dev/null", O_WRONLY);
    begin(argc, argv);
    while (going())
        pull_zeroes(from, to);
    return finish();
}
