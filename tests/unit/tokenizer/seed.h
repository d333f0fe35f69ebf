/* seed.h: the cases of unit tests as seeds for the fuzzers. */
#ifndef HD_TESTS_SEED_H
#define HD_TESTS_SEED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* With HD_SEEDS set to a folder, every case of these tests is written there as a seed: for fuzz_template the source, a
 * NUL and the variables, for fuzz_v4 (where the source is empty) the variables. */
static inline void write_seed(const char *source, const char *vars)
{
    const char *folder = getenv("HD_SEEDS");
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    char path[4096];
    if (!folder || strlen(source) + strlen(vars) > 20000) return;
    for (const char *p = source; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    for (const char *p = vars; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    snprintf(path, sizeof path, "%s/%016llx", folder, (unsigned long long)hash);
    FILE *file = fopen(path, "wb");
    if (!file) fail_msg("%s can't be written", path);
    if (*source) fwrite(source, 1, strlen(source) + 1, file);
    fputs(vars, file);
    fclose(file);
}

#endif
