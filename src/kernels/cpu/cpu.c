/* kernels/cpu/cpu.c: which operator tables there are, and the choice among them. */
#include <stdio.h>

#include "kernels/cpu/pack.h"
#include "kernels/cpu/reference.h"
#include "kernels/cpu/tiers.h"
#include "kernels/kernels.h"

/* In ascending order of speed. */
static const hd_backend *const tables[] = {
    &hd_backend_reference,
#if defined(__x86_64__)
    &hd_backend_avx2,      &hd_backend_avx512, &hd_backend_avx512bf16, &hd_backend_amx,
#elif defined(__aarch64__)
    &hd_backend_neon,
    &hd_backend_neondot,
    &hd_backend_neoni8mm,
#endif
};

static const hd_backend *table_of(hd_cpu_tier tier)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(tables); i++)
        if (tables[i]->tier == tier && hd_cpu_has(tier)) return tables[i];
    return NULL;
}

static hd_status refuse(hd_cpu_tier tier, hd_error *err)
{
    char have[128];
    size_t len = 0;
    for (size_t i = 0; i < HD_ARRAY_LEN(tables) && len < sizeof have; i++)
        if (hd_cpu_has(tables[i]->tier))
            len += (size_t)snprintf(have + len, sizeof have - len, ", %s", tables[i]->name);
    return hd_fail(err, HD_E_UNSUPPORTED, "--cpu %s: this processor or this build lacks it; there are: auto%s",
                   hd_cpu_name(tier), have);
}

hd_status hd_kernels_cpu(const hd_backend **out, hd_cpu_tier tier, hd_error *err)
{
    *out = NULL;
    if (tier != HD_CPU_AUTO) {
        *out = table_of(tier);
        return *out ? HD_OK : refuse(tier, err);
    }
    for (size_t i = HD_ARRAY_LEN(tables); i-- > 0 && !*out;)
        if (hd_cpu_prefers(tables[i]->tier)) *out = tables[i];
    return HD_OK; /* the reference tier runs everywhere */
}

/* Vectors of a tier have so many lanes of 32 bits; 0: it packs nothing. */
static int lanes_of(hd_cpu_tier tier)
{
    switch (tier) {
    case HD_CPU_AVX2: return 8;
    case HD_CPU_AVX512:
    case HD_CPU_AVX512BF16:
    case HD_CPU_AMX: return 16;
    case HD_CPU_NEON:
    case HD_CPU_NEONDOT:
    case HD_CPU_NEONI8MM: return 4;
    default: return 0;
    }
}

size_t hd_kernels_packed_bytes(const hd_backend *backend, const hd_matrix *m)
{
    int lanes = lanes_of(backend->tier);
    return lanes ? hd_pack_bytes(m, lanes) : 0;
}
