// dlopen SECONDS LIBRARY FUNCTION LIBRARY FUNCTION: loads a library, spins in its function, unloads it, takes the other
// one, and so on in turns of equal CPU time. The second one mostly lands at the addresses that the first one had.
#include "work.h"
#include <dlfcn.h>

KEEP int run_plugin(const char *path, const char *name) {
    void *library = dlopen(path, RTLD_NOW);
    if (!library)
        return 3;
    void (*function)(void) = (void (*)(void))dlsym(library, name);
    if (!function)
        return 4;
    long long end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + 100 * 1000000LL;
    while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns)
        function();
    return dlclose(library) ? 5 : 0;
}

int main(int argc, char **argv) {
    if (argc != 6)
        return 2;
    begin(argc, argv);
    // One call for both: the stacks of the two are then the same addresses, and only the time tells them apart.
    // An even number of turns, so that both have the same share however few there were.
    for (int turn = 0; going() || turn % 2; turn++) {
        char **plugin = argv + 2 + turn % 2 * 2;
        int failed = run_plugin(plugin[0], plugin[1]);
        if (failed)
            return failed;
    }
    return finish();
}
