/* tensor/encode_avx512.c: the encoders with 16 blocks side by side. */
#if defined(__x86_64__)
#define ENCODE_LANES 16
#define ENCODE_TABLE hd_encoders_avx512
#include "tensor/encode.inc.h"
#else
typedef int hd_not_here; /* a file must not be empty */
#endif
