// Three functions that take exactly 70, 20 and 10 % of the CPU time: seven, two and one of ten identical units.
#ifndef SPLIT_H
#define SPLIT_H
#include "work.h"

KEEP void take_seventy(void) {
    spin_unit();
    NO_TAIL_CALL;
}

KEEP void take_twenty(void) {
    spin_unit();
    NO_TAIL_CALL;
}

KEEP void take_ten(void) {
    spin_unit();
    NO_TAIL_CALL;
}

// One round of ten units in shuffled order, so that no sampling period can fall into step with it.
static void split_round(unsigned *seed) {
    void (*deck[10])(void) = {take_seventy, take_seventy, take_seventy, take_seventy, take_seventy,
                              take_seventy, take_seventy, take_twenty,  take_twenty,  take_ten};
    for (unsigned left = 10; left > 0; left--) {
        *seed = *seed * 1664525u + 1013904223u;
        unsigned drawn = (*seed >> 16) % left;
        deck[drawn]();
        deck[drawn] = deck[left - 1];
    }
}

#endif
