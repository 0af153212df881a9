// jitnames SECONDS HOW NAME...: generates one function after another at the same address, and spins for so much CPU time in
// each, called from call_first and call_second by turns. HOW it tells their names: `map`, in /tmp/perf-PID.map, or `dump`,
// in ./jit-PID.dump with lines of NAME.src; `none`.
#include "work.h"
#include "generated.h"
#include <stdint.h>

#define ADDRESS ((void *)0x610000000000)

KEEP void call_first(generated_function generated) {
    generated();
    NO_TAIL_CALL;
}

KEEP void call_second(generated_function generated) {
    generated();
    NO_TAIL_CALL;
}

static int told;

static void tell_in_map(const char *name) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)getpid());
    if (!told)
        told = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int length = snprintf(line, sizeof line, "%lx %zx %s\n", (unsigned long)ADDRESS, sizeof code, name);
    if (write(told, line, length) != length)
        _exit(3);
}

struct prefix {
    uint32_t kind, size;
    uint64_t time;
};

struct load {
    struct prefix prefix;
    uint32_t pid, tid;
    uint64_t vma, address, size, index;
};

struct lines {
    struct prefix prefix;
    uint64_t address, count;
    uint64_t first;
    uint32_t line, discriminator;
};

static void append(const void *bytes, size_t count) {
    if (write(told, bytes, count) != (ssize_t)count)
        _exit(3);
}

static void open_dump(void) {
    char path[64];
    snprintf(path, sizeof path, "jit-%d.dump", (int)getpid());
    told = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    uint32_t header[10] = {0x4a695444, 1, sizeof header, 0, 0, (uint32_t)getpid()};
    append(header, sizeof header);
    if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, told, 0) == MAP_FAILED)
        _exit(3);
}

static void tell_in_dump(const char *name) {
    if (!told)
        open_dump();
    size_t length = strlen(name) + 1;
    uint64_t now = clock_ns(CLOCK_MONOTONIC), address = (uint64_t)ADDRESS;
    char source[256];
    size_t source_length = snprintf(source, sizeof source, "%s.src", name) + 1;
    struct lines lines = {{2, sizeof lines + source_length, now}, address, 1, address, 42, 0};
    append(&lines, sizeof lines);
    append(source, source_length);
    struct load load = {{0, sizeof load + length + sizeof code, now}, 0, 0, address, address, sizeof code, 1};
    append(&load, sizeof load);
    append(name, length);
    append(code, sizeof code);
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    begin(1, argv);
    for (int at = 3; at < argc; at++) {
        generated_function generated = generate(ADDRESS);
        if (!generated)
            return 3;
        if (!strcmp(argv[2], "map"))
            tell_in_map(argv[at]);
        if (!strcmp(argv[2], "dump"))
            tell_in_dump(argv[at]);
        long long end_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) + (long long)(atof(argv[1]) * 1e9);
        while (clock_ns(CLOCK_PROCESS_CPUTIME_ID) < end_ns)
            (at % 2 ? call_first : call_second)(generated);
    }
    return finish();
}
