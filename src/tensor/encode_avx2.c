/* tensor/encode_avx2.c: the encoders with 8 blocks side by side. */
#if defined(__x86_64__)
#define ENCODE_LANES 8
#define ENCODE_TABLE hd_encoders_avx2
#include "tensor/encode.inc.h"
#else
typedef int hd_not_here; /* a file must not be empty */
#endif
