// A shared library with one function, named by the macro PLUGIN. All plugins are alike: code of one that is looked up in
// another gets the other's name.
#include "work.h"
#ifndef PLUGIN
#define PLUGIN plugin_work
#endif

KEEP void PLUGIN(void) {
    spin_units(10);
    NO_TAIL_CALL;
}

// A hundred more functions of the same library, for who always wants to call something new.
#define LATE(tens, ones)                     \
    static KEEP void late_##tens##ones(void) { \
        spin_unit();                         \
        NO_TAIL_CALL;                        \
    }
#define EACH_OF(each, tens)                                                                                  \
    each(tens, 0) each(tens, 1) each(tens, 2) each(tens, 3) each(tens, 4) each(tens, 5) each(tens, 6)        \
    each(tens, 7) each(tens, 8) each(tens, 9)
#define ALL(each)                                                                                            \
    EACH_OF(each, 0) EACH_OF(each, 1) EACH_OF(each, 2) EACH_OF(each, 3) EACH_OF(each, 4) EACH_OF(each, 5)    \
    EACH_OF(each, 6) EACH_OF(each, 7) EACH_OF(each, 8) EACH_OF(each, 9)
#define NAME(tens, ones) late_##tens##ones,
ALL(LATE)
void (*const plugin_late[100])(void) = {ALL(NAME)};
