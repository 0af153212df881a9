// caller SECONDS LIBRARY FUNCTION: loads a library and spins in its function.
#include "work.h"
#include <dlfcn.h>

int main(int argc, char **argv) {
    void *library = argc == 4 ? dlopen(argv[2], RTLD_NOW) : NULL;
    void (*function)(void) = library ? (void (*)(void))dlsym(library, argv[3]) : NULL;
    if (!function)
        return 2;
    begin(argc, argv);
    while (going())
        function();
    return finish();
}
