// handmade SECONDS: spins in a function of assembler that has no call frame information, as those of codecs and of musl have
// none. It is called directly, and through a pointer.
#include "work.h"

void handmade(unsigned steps);
__asm__(".text\n.globl handmade\n.type handmade, @function\nhandmade:\n"
        "1: dec %edi\n jnz 1b\n ret\n"
        ".size handmade, . - handmade\n");

void (*volatile pointer)(unsigned) = handmade;

KEEP void direct(void) {
    handmade(40000);
    NO_TAIL_CALL;
}

KEEP void indirect(void) {
    pointer(40000);
    NO_TAIL_CALL;
}

int main(int argc, char **argv) {
    begin(argc, argv);
    while (going()) {
        direct();
        indirect();
    }
    return finish();
}
