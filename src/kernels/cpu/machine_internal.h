/* kernels/cpu/machine_internal.h: the measuring loops of machine_<tier>.c, which machine.c chooses from. */
#ifndef HD_KERNELS_MACHINE_INTERNAL_H
#define HD_KERNELS_MACHINE_INTERNAL_H

#include "kernels/machine.h"

/* One way to do a kind of arithmetic. */
typedef struct hd_machine_loop {
    hd_arithmetic kind;
    const char *instruction;
    double operations;           /* of one round */
    void (*run)(int64_t rounds); /* on one thread */
    bool (*has)(void);           /* whether this processor has the instruction */
} hd_machine_loop;

/* Reads all of data[bytes], a multiple of 4096 bytes at a page, and returns something that depends on all of it. */
typedef uint64_t (*hd_machine_reader)(const uint8_t *data, size_t bytes);

/* How far ahead of its loads a reader asks for lines: a page, where the processor's own prefetchers stop.  Between 1
 * and 16 KiB no difference stood out of the noise (Sapphire Rapids). */
#define HD_MACHINE_AHEAD 4096

/* Twelve independent sums hide an instruction's latency (4 to 5 cycles at two a cycle).  Variables of their own, since
 * compilers keep an array in memory; and the instruction is written out, so that nothing is folded or moved. */
#define HD_MACHINE_SUMS 12
#define HD_MACHINE_EACH(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)

extern const hd_machine_loop hd_machine_avx2[2], hd_machine_avx512[3], hd_machine_amx[2], hd_machine_neon[3];
uint64_t hd_machine_read_avx2(const uint8_t *data, size_t bytes);
uint64_t hd_machine_read_avx512(const uint8_t *data, size_t bytes);

#endif
