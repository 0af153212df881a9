// later SECONDS DIRECTORY: leaves pages in memory that the kernel's own threads write when they are told to: 16 MiB of `written`, by
// calls that write, and 8 MiB of `mapped`, in a mapping of it. Then writes 4 MiB of `own`, and has them written itself.
#include "work.h"
#include <string.h>
#include <sys/mman.h>

#define WRITTEN (16 << 20)
#define MAPPED (8 << 20)
#define OWN (4 << 20)

static char buffer[64 << 10];

static int new(const char *folder, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0)
        _exit(3);
    return file;
}

static KEEP void fill(int file, int bytes) {
    for (int done = 0; done < bytes; done += sizeof buffer)
        if (write(file, buffer, sizeof buffer) != sizeof buffer)
            _exit(3);
}

static KEEP void touches(int file) {
    char *at = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (at == MAP_FAILED)
        _exit(3);
    for (int page = 0; page < MAPPED; page += 4096)
        at[page] = 'x';
    munmap(at, MAPPED);
}

static KEEP void waits(int file) {
    fill(file, OWN);
    if (fsync(file))
        _exit(3);
}

int main(int argc, char **argv) {
    memset(buffer, 'x', sizeof buffer);
    begin(argc, argv);
    int written = new(argv[2], "written"), mapped = new(argv[2], "mapped"), own = new(argv[2], "own");
    // Blocks for all of it are there beforehand, so that the disk is asked for nothing else.
    if (posix_fallocate(mapped, 0, MAPPED) || syncfs(mapped))
        return 3;
    // By then the code of all that is mapped is known.
    usleep(1000000);
    fill(written, WRITTEN);
    touches(mapped);
    if (syncfs(written))
        return 3;
    waits(own);
    return finish();
}
