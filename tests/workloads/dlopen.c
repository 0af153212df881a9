// dlopen SECONDS LIBRARY FUNCTION LIBRARY FUNCTION: loads a library, spins in its function, unloads it, takes the other
// one, and so on in turns of equal work. The second one mostly lands at the addresses that the first one had.
#include "work.h"
#include <dlfcn.h>

KEEP int run_plugin(const char *path, const char *name, int repeats) {
    void *library = dlopen(path, RTLD_NOW);
    if (!library)
        return 3;
    void (*function)(void) = (void (*)(void))dlsym(library, name);
    if (!function)
        return 4;
    while (repeats--)
        function();
    return dlclose(library) ? 5 : 0;
}

int main(int argc, char **argv) {
    if (argc != 6)
        return 2;
    begin(argc, argv);
    while (going()) {
        int failed = run_plugin(argv[2], argv[3], 500);
        if (!failed)
            failed = run_plugin(argv[4], argv[5], 500);
        if (failed)
            return failed;
    }
    return finish();
}
