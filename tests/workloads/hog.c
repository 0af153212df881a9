// hog: takes memory until it, or something beside it, is killed.
#include "work.h"
#include <string.h>

int main(void) {
    for (;;) {
        char *block = malloc(1 << 20);
        if (!block)
            return 3;
        memset(block, 1, 1 << 20);
        usleep(2000);
    }
}
