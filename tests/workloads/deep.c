// deep SECONDS: spins at the end of frame_00 -> frame_01 -> ... -> frame_59 -> frame_end.
// deep SECONDS DEPTH: spins below DEPTH calls of dive().
#include "work.h"

KEEP void frame_end(void) {
    spin_unit();
    NO_TAIL_CALL;
}

#define LINK(name, callee)         \
    KEEP void frame_##name(void) { \
        frame_##callee();          \
        NO_TAIL_CALL;              \
    }
#define TEN(tens, callee)                                                                                     \
    LINK(tens##9, callee)                                                                                     \
    LINK(tens##8, tens##9)                                                                                    \
    LINK(tens##7, tens##8)                                                                                    \
    LINK(tens##6, tens##7)                                                                                    \
    LINK(tens##5, tens##6)                                                                                    \
    LINK(tens##4, tens##5) LINK(tens##3, tens##4) LINK(tens##2, tens##3) LINK(tens##1, tens##2) LINK(tens##0, tens##1)
TEN(5, end)
TEN(4, 50)
TEN(3, 40)
TEN(2, 30)
TEN(1, 20)
TEN(0, 10)

KEEP void dive(int depth) {
    if (depth > 1)
        dive(depth - 1);
    else
        spin_unit();
    NO_TAIL_CALL;
}

int main(int argc, char **argv) {
    int depth = argc > 2 ? atoi(argv[2]) : 0;
    begin(argc, argv);
    while (going()) {
        if (depth)
            dive(depth);
        else
            frame_00();
    }
    return finish();
}
