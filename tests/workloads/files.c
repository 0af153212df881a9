// files SECONDS DIRECTORY: writes past the page cache to files that have, one after another, the same inode number where the file
// system gives it again: 20 of 4 KiB to `first`, which is deleted then, 30 to `second`, and, after its deletion while it is open, 10 more.
#include "work.h"
#include <string.h>

static char *buffer;

static void writes(int file, int count) {
    for (int at = 0; at < count; at++)
        if (pwrite(file, buffer, 4 << 10, (off_t)at << 12) != 4 << 10)
            _exit(3);
}

static int new(const char *folder, const char *name, char *path) {
    snprintf(path, 512, "%s/%s", folder, name);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
    if (file < 0)
        _exit(3);
    return file;
}

int main(int argc, char **argv) {
    char path[512];
    if (posix_memalign((void **)&buffer, 4096, 4 << 10))
        return 3;
    memset(buffer, 'x', 4 << 10);
    begin(argc, argv);
    int file = new(argv[2], "first", path);
    writes(file, 20);
    close(file);
    unlink(path);
    file = new(argv[2], "second", path);
    writes(file, 30);
    // A window of the recording ends meanwhile.
    usleep(1300000);
    unlink(path);
    writes(file, 10);
    close(file);
    return finish();
}
