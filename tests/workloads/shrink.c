// shrink MILLISECONDS LIBRARY: spins in the library's `plugin_work` for so much CPU time, for 10 ms in each of a hundred other
// functions, and then cuts the library's file short, as an installer in a hurry does. Whenever a window of a recording ended
// before that, the last functions are new in the next.
#include "work.h"
#include <dlfcn.h>

static void spin_in(void (*function)(void), unsigned milliseconds) {
    long long end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + milliseconds * 1000000LL;
    while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns)
        function();
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    begin(1, argv);
    void *library = dlopen(argv[2], RTLD_NOW);
    if (!library)
        return 3;
    void (*work)(void) = (void (*)(void))dlsym(library, "plugin_work");
    void (*const *late)(void) = (void (*const *)(void))dlsym(library, "plugin_late");
    if (!work || !late)
        return 4;
    spin_in(work, atoi(argv[1]));
    for (int at = 0; at < 100; at++)
        spin_in(late[at], 10);
    if (truncate(argv[2], 0))
        return 5;
    // Long enough for the window to end, and for two more without a sample of the library.
    sleep(2);
    spin_ms(200);
    finish();
    // Nothing of the library may run any more, neither its destructors.
    _exit(0);
}
