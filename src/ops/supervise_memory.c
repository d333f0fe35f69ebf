/* ops/supervise_memory.c: whether there is memory for two workers.  Mapped weights are the same pages for both; what is
 * not is what the old one has for itself (repacked weights, caches), and the new one will soon have as much. */
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "ops/supervise_internal.h"

#define SPARE 16 /* one part in so many more than the old one has */

/* The sum of the lines "NAME:   123 kB" of a file, in bytes; 0 when there is none. */
static uint64_t read_lines(const char *path, const char *const *names, size_t count)
{
    char line[256];
    uint64_t sum = 0;
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        unsigned long long kib;
        for (size_t i = 0; i < count; i++) {
            size_t len = strlen(names[i]);
            if (strncmp(line, names[i], len) == 0 && line[len] == ':' && sscanf(line + len + 1, "%llu", &kib) == 1)
                sum += (uint64_t)kib << 10;
        }
    }
    if (file) fclose(file);
    return sum;
}

uint64_t hd_private_bytes(pid_t pid)
{
    static const char *const names[] = {"RssAnon", "VmSwap"};
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    return read_lines(path, names, HD_ARRAY_LEN(names));
}

uint64_t hd_available_bytes(uint64_t limit, uint64_t used)
{
    static const char *const names[] = {"MemAvailable"};
    uint64_t machine = read_lines("/proc/meminfo", names, 1);
    uint64_t allowed = limit == 0 ? UINT64_MAX : limit > used ? limit - used : 0;
    return HD_MIN(machine, allowed);
}

bool hd_supervise_has_room(uint64_t private_bytes, uint64_t available)
{
    return available >= private_bytes && available - private_bytes >= private_bytes / SPARE;
}
