// shrink SECONDS LIBRARY: spins in the library's `plugin_work` for so long, for a fifth of a second in `plugin_late`, and
// then cuts the library's file short, as an installer in a hurry does.
#include "work.h"
#include <dlfcn.h>

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    begin(argc, argv);
    void *library = dlopen(argv[2], RTLD_NOW);
    if (!library)
        return 3;
    void (*work)(void) = (void (*)(void))dlsym(library, "plugin_work");
    void (*late)(void) = (void (*)(void))dlsym(library, "plugin_late");
    if (!work || !late)
        return 4;
    while (going())
        work();
    long long end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + 200 * 1000000LL;
    while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns)
        late();
    if (truncate(argv[2], 0))
        return 5;
    // Long enough for the window to end, and for two more without a sample of the library.
    sleep(2);
    spin_ms(200);
    finish();
    // Nothing of the library may run any more, neither its destructors.
    _exit(0);
}
