// inline [SECONDS]: spins in innermost_inlined, inlined into middle_inlined, inlined into outer_real.
#include "work.h"

static inline __attribute__((always_inline)) void innermost_inlined(unsigned steps) {
    for (unsigned step = 0; step < steps; step++)
        __asm__ volatile("" : "+r"(step));
}

static inline __attribute__((always_inline)) void middle_inlined(unsigned steps) {
    innermost_inlined(steps);
    innermost_inlined(steps / 2);
}

KEEP void outer_real(unsigned steps) {
    NEEDS_FRAME;
    middle_inlined(steps);
    NO_TAIL_CALL;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    while (going())
        outer_real(200000);
    return finish();
}
