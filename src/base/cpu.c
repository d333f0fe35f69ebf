/* base/cpu.c: see cpu.h. */
#include "base/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

static bool cpuid_amx(void)
{
    unsigned a = 7, b = 0, c = 0, d = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return (d >> 24 & 1) && (d >> 25 & 1); /* amx-tile, amx-int8: Intel SDM, leaf 7, EDX */
}

/* Linux gives tile state only to processes that ask for it (arch_prctl, kernel documentation "x86/xstate"). */
static bool amx_permitted(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static bool has_amx(void)
{
    return has_avx512() && cpuid_amx() && amx_permitted();
}
#else
static bool has_avx2(void)
{
    return false;
}

static bool has_avx512(void)
{
    return false;
}

static bool has_amx(void)
{
    return false;
}
#endif

bool hd_cpu_has(hd_cpu_tier tier)
{
    switch (tier) {
    case HD_CPU_AUTO:
    case HD_CPU_REFERENCE: return true;
    case HD_CPU_AVX2: return has_avx2();
    case HD_CPU_AVX512: return has_avx512();
    case HD_CPU_AMX: return has_amx();
    case HD_CPU_NEON:
#if defined(__aarch64__)
        return true; /* part of the base architecture */
#else
        return false;
#endif
    }
    return false;
}

hd_cpu_tier hd_cpu_best(void)
{
    static const hd_cpu_tier order[] = {HD_CPU_AMX, HD_CPU_AVX512, HD_CPU_AVX2, HD_CPU_NEON};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        if (hd_cpu_has(order[i])) return order[i];
    return HD_CPU_REFERENCE;
}

static const char *const tier_names[] = {"auto", "reference", "avx2", "avx512", "amx", "neon"};

const char *hd_cpu_name(hd_cpu_tier tier)
{
    return tier_names[tier];
}

bool hd_cpu_parse(const char *name, hd_cpu_tier *out)
{
    for (size_t i = 0; i < sizeof tier_names / sizeof tier_names[0]; i++) {
        if (strcmp(name, tier_names[i]) != 0) continue;
        *out = (hd_cpu_tier)i;
        return true;
    }
    return false;
}

/* The quota of cgroup v2 ("max" or "quota period" in microseconds), in whole processors; 0 when there is none. */
static int cgroup_quota(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!f) return 0;
    long long quota = 0, period = 0;
    int got = fscanf(f, "%lld %lld", &quota, &period);
    fclose(f);
    if (got != 2 || quota <= 0 || period <= 0) return 0;
    long long cpus = (quota + period - 1) / period;
    return cpus > 0 && cpus < 65536 ? (int)cpus : 0;
}

int hd_cpu_threads(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int quota = cgroup_quota();
    if (quota && quota < n) n = quota;
    return n > 0 ? n : 1;
}

static char model_name[128] = "unknown";

static void read_model_name(void)
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    if (!f) return;
    char line[256];
    while (fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (!colon || strncmp(line, "model name", 10) != 0) continue;
        snprintf(model_name, sizeof model_name, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    fclose(f);
}

const char *hd_cpu_model(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_model_name);
    return model_name;
}
