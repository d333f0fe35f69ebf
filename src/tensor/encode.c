/* tensor/encode.c: see encode.h: the choice of the encoder. */
#include "tensor/encode.h"

#include "base/cpu.h"
#include "tensor/encode_internal.h"

static const hd_blocks_encoder *encoders(void)
{
#if defined(__x86_64__)
    if (hd_cpu_has(HD_CPU_AVX512)) return hd_encoders_avx512;
    if (hd_cpu_has(HD_CPU_AVX2)) return hd_encoders_avx2;
#endif
    return hd_encoders_portable;
}

bool hd_encode_supported(hd_type type)
{
    return (unsigned)type < HD_TYPE_COUNT && hd_encoders_portable[type] != NULL;
}

bool hd_encode_blocks(hd_type type, const float *src, const float *weight, void *dst, int64_t n)
{
    if (!hd_encode_supported(type)) return false;
    encoders()[type](src, weight, dst, n / hd_type_block(type));
    return true;
}
