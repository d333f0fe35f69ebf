/* tensor/encode_portable.c: the encoders with 4 blocks side by side. */
#define ENCODE_LANES 4
#define ENCODE_TABLE hd_encoders_portable
#include "tensor/encode.inc.h"
