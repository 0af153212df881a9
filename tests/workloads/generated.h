// Machine code for memory that a workload makes executable: a function that spins for some 50 microseconds.
#ifndef GENERATED_H
#define GENERATED_H

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

typedef void (*generated_function)(void);

// Writes the function to a page, at this address if it is one; NULL if it can't be.
static generated_function generate(void *address) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS, file = -1;
#ifdef IN_MEMORY_FILE
    // As .NET does, in order to write to memory under another address than the one it is executed at.
    flags = MAP_SHARED;
    file = memfd_create("doublemapper", 0);
    if (ftruncate(file, 4096))
        return NULL;
#endif
    char *page = mmap(address, 4096, PROT_READ | PROT_WRITE, flags | (address ? MAP_FIXED : 0), file, 0);
    if (page == MAP_FAILED)
        return NULL;
    memcpy(page, code, sizeof code);
    __builtin___clear_cache(page, page + sizeof code);
    return mprotect(page, 4096, PROT_READ | PROT_EXEC) ? NULL : (generated_function)page;
}

#endif
