/* base/cpu.c: see cpu.h. */
#include "base/cpu.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>

/* Bit numbers of CPUID: Intel SDM, volume 2A. */
static bool cpuid_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}

/* The compiler's builtin also asks whether the system saves the registers. */
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
           cpuid_f16c();
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

static bool has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}

/* All that files of the AMX tier are compiled for: amx-bf16, amx-tile, amx-int8 and avx512_bf16. */
static bool cpuid_amx(void)
{
    unsigned a, b, c, d, more, unused;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1) && (d >> 25 & 1) &&
           __get_cpuid_count(7, 1, &more, &unused, &unused, &unused) && (more >> 5 & 1);
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

static bool arch_has(hd_cpu_tier tier)
{
    switch (tier) {
    case HD_CPU_AVX2: return has_avx2();
    case HD_CPU_AVX512: return has_avx512();
    case HD_CPU_AVX512BF16: return has_avx512bf16();
    case HD_CPU_AMX: return has_amx();
    default: return false;
    }
}

static bool arch_avoids(hd_cpu_tier tier)
{
    return tier == HD_CPU_AVX512BF16 && __builtin_cpu_is("intel");
}

int hd_cpu_streams(void)
{
    return __builtin_cpu_is("intel") ? 8 : 1;
}
#else
/* The base architecture's tier, and bits of Linux's HWCAP_ASIMDDP and HWCAP2_I8MM (kernel documentation
 * "arm64/elf_hwcaps"). */
static bool arch_has(hd_cpu_tier tier)
{
#if defined(__aarch64__)
    bool dot = getauxval(AT_HWCAP) >> 20 & 1, i8mm = getauxval(AT_HWCAP2) >> 13 & 1;
    return tier == HD_CPU_NEON || (tier == HD_CPU_NEONDOT && dot) || (tier == HD_CPU_NEONI8MM && dot && i8mm);
#else
    (void)tier;
    return false;
#endif
}

static bool arch_avoids(hd_cpu_tier tier)
{
    (void)tier;
    return false;
}

int hd_cpu_streams(void)
{
    return 1;
}
#endif

bool hd_cpu_has(hd_cpu_tier tier)
{
    return tier == HD_CPU_AUTO || tier == HD_CPU_REFERENCE || arch_has(tier);
}

bool hd_cpu_prefers(hd_cpu_tier tier)
{
    return hd_cpu_has(tier) && !arch_avoids(tier);
}

hd_cpu_tier hd_cpu_best(void)
{
    static const hd_cpu_tier order[] = {HD_CPU_AMX,      HD_CPU_AVX512BF16, HD_CPU_AVX512, HD_CPU_AVX2,
                                        HD_CPU_NEONI8MM, HD_CPU_NEONDOT,    HD_CPU_NEON};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        if (hd_cpu_prefers(order[i])) return order[i];
    return HD_CPU_REFERENCE;
}

static const char *const tier_names[] = {"auto", "reference", "avx2",    "avx512",  "avx512bf16",
                                         "amx",  "neon",      "neondot", "neoni8mm"};

const char *hd_cpu_name(hd_cpu_tier tier)
{
    return (size_t)tier < sizeof tier_names / sizeof tier_names[0] ? tier_names[tier] : "unknown";
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

/* The quota in the cpu.max of one cgroup v2 ("max" or "quota period" in microseconds), in whole processors; 0: none. */
static int quota_of(const char *folder)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", folder);
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    long long quota = 0, period = 0;
    int got = fscanf(f, "%lld %lld", &quota, &period);
    fclose(f);
    if (got != 2 || quota <= 0 || period <= 0) return 0;
    long long cpus = (quota + period - 1) / period;
    return cpus > 0 && cpus < 65536 ? (int)cpus : 0;
}

/* The path of our cgroup v2 below the mount: the line "0::/path" of /proc/self/cgroup; "" for the root or none. */
static void own_cgroup(char path[PATH_MAX])
{
    path[0] = '\0';
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f) return;
    char line[PATH_MAX];
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "0::/", 4) != 0) continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(path, PATH_MAX, "%s", line + 3);
        break;
    }
    fclose(f);
}

/* The least quota of our cgroup and those above it, in whole processors; 0 when there is none. */
static int cgroup_quota(void)
{
    char path[PATH_MAX];
    own_cgroup(path);
    int least = 0;
    for (;;) {
        int quota = quota_of(path);
        if (quota && (!least || quota < least)) least = quota;
        char *slash = strrchr(path, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

int hd_cpu_threads(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0
                ? CPU_COUNT(&set)
                : (int)sysconf(_SC_NPROCESSORS_ONLN); /* more than the set holds */
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
        const char *name = colon + 1 + strspn(colon + 1, " \t");
        snprintf(model_name, sizeof model_name, "%.*s", (int)strcspn(name, "\n"), name);
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

#if defined(__x86_64__)
#define FLUSH_BITS 0x8040u /* MXCSR: flush to zero, denormals are zeros (Intel SDM, volume 1, 10.2.3) */

bool hd_cpu_flush_denormals(bool flush)
{
    unsigned state = __builtin_ia32_stmxcsr();
    bool was = (state & FLUSH_BITS) == FLUSH_BITS;
    if (was != flush) __builtin_ia32_ldmxcsr(flush ? state | FLUSH_BITS : state & ~FLUSH_BITS);
    return was;
}
#elif defined(__aarch64__)
#define FLUSH_BIT ((uint64_t)1 << 24) /* FPCR.FZ (Arm ARM, C5.2.8) */

bool hd_cpu_flush_denormals(bool flush)
{
    uint64_t state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state));
    bool was = (state & FLUSH_BIT) != 0;
    state = flush ? state | FLUSH_BIT : state & ~FLUSH_BIT;
    __asm__ volatile("msr fpcr, %0" : : "r"(state));
    return was;
}
#else
bool hd_cpu_flush_denormals(bool flush)
{
    (void)flush;
    return false;
}
#endif
