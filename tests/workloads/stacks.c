// stacks SECONDS DEPTHS: spins below 1, 2, 3, ... DEPTHS calls of dive() in turn, so in that many distinct stacks.
#include "work.h"

KEEP void dive(int depth) {
    if (depth > 1)
        dive(depth - 1);
    else
        spin_units(5);
    NO_TAIL_CALL;
}

int main(int argc, char **argv) {
    int depths = argc > 2 ? atoi(argv[2]) : 100;
    begin(argc, argv);
    for (int turn = 0; going(); turn++)
        dive(1 + turn % depths);
    return finish();
}
