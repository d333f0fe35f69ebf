/* kernels/cpu/machine_internal.h: the measuring loops of machine_<tier>.c, which machine.c chooses from. */
#ifndef HD_KERNELS_MACHINE_INTERNAL_H
#define HD_KERNELS_MACHINE_INTERNAL_H

#include "kernels/cpu/ahead.h"
#include "kernels/machine.h"

/* One way to do a kind of arithmetic. */
typedef struct hd_machine_loop {
    hd_arithmetic kind;
    const char *instruction;
    double operations;           /* of one round */
    void (*run)(int64_t rounds); /* on one thread */
    bool (*has)(void);           /* whether this processor has the instruction */
} hd_machine_loop;

/* Reads all of data[bytes], a multiple of 256 bytes at a cache line, and returns something that depends on all of it;
 * meanwhile asks for as many of `ahead`, unless that is NULL. */
typedef uint64_t (*hd_machine_reader)(const uint8_t *data, size_t bytes, hd_ask *ahead);

/* Twelve independent sums hide an instruction's latency (4 to 5 cycles at two a cycle).  Variables of their own, since
 * compilers keep an array in memory; and the instruction is written out, so that nothing is folded or moved. */
#define HD_MACHINE_SUMS 12
#define HD_MACHINE_EACH(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)

/* A loop's function: runs one instruction on every sum, `rounds` times; `value` fills the 32-bit lanes of both
 * operands. The macro `instruction` sees operands a and b, and sums s0, s1 ... */
#define HD_MACHINE_LOOP(kind, name, vector, fill, instruction, value)                                                  \
    kind void name(int64_t rounds)                                                                                     \
    {                                                                                                                  \
        vector a = fill(value), b = a;                                                                                 \
        vector s0 = fill(0), s1 = fill(1), s2 = fill(2), s3 = fill(3), s4 = fill(4), s5 = fill(5), s6 = fill(6),       \
               s7 = fill(7), s8 = fill(8), s9 = fill(9), s10 = fill(10), s11 = fill(11);                               \
        for (int64_t r = 0; r < rounds; r++) {                                                                         \
            HD_MACHINE_EACH(instruction)                                                                               \
        }                                                                                                              \
    }

extern const hd_machine_loop hd_machine_avx2[2], hd_machine_avx512[3], hd_machine_amx[2], hd_machine_neon[3];
uint64_t hd_machine_read_avx2(const uint8_t *data, size_t bytes, hd_ask *ahead);
uint64_t hd_machine_read_avx512(const uint8_t *data, size_t bytes, hd_ask *ahead);

#endif
