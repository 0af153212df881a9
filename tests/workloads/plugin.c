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

// Another function of the same library, for who wants to call something new.
KEEP void plugin_late(void) {
    spin_units(10);
    NO_TAIL_CALL;
}
