// kernel [SECONDS]: like dd, pulls zeroes through the kernel, whose share is nine tenths and more.
#include "work.h"
#include <sys/syscall.h>

// The calls are made here and not in libc: its functions have no frame, so their callers would be missing in the stacks.
static inline __attribute__((always_inline)) long transfer(long number, long file, char *buffer, long bytes) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(file), "S"(buffer), "d"(bytes) : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = file, x2 __asm__("x2") = bytes;
    register char *x1 __asm__("x1") = buffer;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#else
#error "no system call for this architecture"
#endif
}

KEEP void pull_zeroes(int from, int to) {
    static char buffer[1 << 20];
    NEEDS_FRAME;
    for (int round = 0; round < 16; round++) {
        if (transfer(SYS_read, from, buffer, sizeof buffer) < 0 || transfer(SYS_write, to, buffer, sizeof buffer) < 0)
            _exit(3);
    }
}

int main(int argc, char **argv) {
    int from = open("/dev/zero", O_RDONLY), to = open("/dev/null", O_WRONLY);
    begin(argc, argv);
    while (going())
        pull_zeroes(from, to);
    return finish();
}
