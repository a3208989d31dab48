/* Preloaded into pjdfstest, which makes every character device as 0/0: that is a whiteout, which no union may let its users
   make, so that all it would have tested with the device went untested. This makes them 1/3 instead. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int mknod(const char *path, mode_t mode, dev_t dev)
{
    if (S_ISCHR(mode) && dev == 0)
        dev = makedev(1, 3);
    return syscall(SYS_mknodat, AT_FDCWD, path, mode, (unsigned)dev);
}
