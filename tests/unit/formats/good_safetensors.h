/* good_safetensors.h: safetensors files and an index that must open; also seeds of the fuzzers. */
#ifndef HD_TESTS_GOOD_SAFETENSORS_H
#define HD_TESTS_GOOD_SAFETENSORS_H

#include "unit/formats/build_safetensors.h"

/* Every type that is read, names in another order than the data, padding behind the header. */
static inline void put_every_dtype(hd_buf *b)
{
    put_safetensors(b,
                    "{\"__metadata__\":{\"format\":\"pt\"},"
                    "\"z.f64\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]},"
                    "\"bool\":{\"dtype\":\"BOOL\",\"shape\":[1,1,2],\"data_offsets\":[54,56]},"
                    "\"i64\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[8,16]},"
                    "\"f32\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[16,24]},"
                    "\"i32\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[24,28]},"
                    "\"f16\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[28,32]},"
                    "\"bf16\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[32,44]},"
                    "\"i16\":{\"dtype\":\"I16\",\"shape\":[1],\"data_offsets\":[44,46]},"
                    "\"e4m3\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[46,49]},"
                    "\"e5m2\":{\"dtype\":\"F8_E5M2\",\"shape\":[1],\"data_offsets\":[49,50]},"
                    "\"e8m0\":{\"dtype\":\"F8_E8M0\",\"shape\":[1],\"data_offsets\":[50,51]},"
                    "\"i8\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[51,52]},"
                    "\"u8\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[52,54]},"
                    "\"scalar\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[56,57]},"
                    "\"none\":{\"dtype\":\"F32\",\"shape\":[0,4,4],\"data_offsets\":[24,24]},"
                    "\"none.at.end\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[57,57]}}   ",
                    57);
}

static inline void put_no_tensors(hd_buf *b)
{
    put_safetensors(b, "{}", 0);
}

/* A header of an odd length: the float32 behind it lies at an odd address. */
static inline void put_misaligned(hd_buf *b)
{
    put_safetensors(b, "{\"odd\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}     ", 8);
}

static inline void put_good_index(hd_buf *b)
{
    (void)hd_buf_puts(b, "{\"metadata\":{\"total_size\":12},\"weight_map\":{"
                         "\"c\":\"model-00002-of-00002.safetensors\","
                         "\"a\":\"model-00001-of-00002.safetensors\","
                         "\"b\":\"model-00002-of-00002.safetensors\"}}");
}

#endif
