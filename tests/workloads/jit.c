// jit [SECONDS]: spins in code written into anonymous memory, called from call_generated.
#include "work.h"
#include <string.h>
#include <sys/mman.h>

#if defined(__x86_64__)
static const unsigned char code[] = {
    0x55,                         // push rbp
    0x48, 0x89, 0xe5,             // mov rbp, rsp
    0xb9, 0x40, 0x0d, 0x03, 0x00, // mov ecx, 200000
    0xff, 0xc9,                   // dec ecx
    0x75, 0xfc,                   // jnz to the dec
    0x5d,                         // pop rbp
    0xc3,                         // ret
};
#elif defined(__aarch64__)
static const unsigned code[] = {
    0xa9bf7bfd, // stp x29, x30, [sp, #-16]!
    0x910003fd, // mov x29, sp
    0xd2a00060, // mov x0, #196608
    0xf1000400, // subs x0, x0, #1
    0x54ffffe1, // b.ne to the subs
    0xa8c17bfd, // ldp x29, x30, [sp], #16
    0xd65f03c0, // ret
};
#else
#error "no machine code for this architecture"
#endif

KEEP void call_generated(void (*generated)(void)) {
    generated();
    NO_TAIL_CALL;
}

int main(int argc, char **argv) {
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return 3;
    memcpy(page, code, sizeof code);
    __builtin___clear_cache(page, page + sizeof code);
    if (mprotect(page, 4096, PROT_READ | PROT_EXEC))
        return 3;
    begin(argc, argv);
    while (going())
        call_generated((void (*)(void))page);
    return finish();
}
