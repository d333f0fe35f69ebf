/* ops/elf.h: what a program or a shared library says it needs: its loader, its libraries, the versions of their
 * symbols.
 *
 * Source: the System V ABI (ELF-64), and the Linux Standard Base for symbol versions.  64 bits, little-endian only.
 * Bytes are untrusted: offsets are checked, lists capped.  Views end with the bytes they look into.  Any thread.
 */
#ifndef HD_OPS_ELF_H
#define HD_OPS_ELF_H

#include "base/base.h"

#define HD_ELF_NEEDED_MAX 64

typedef struct hd_elf {
    int machine;             /* e_machine: 62 x86-64, 183 AArch64 */
    const char *interpreter; /* NULL: it has none (a library) */
    const char *needed[HD_ELF_NEEDED_MAX];
    size_t needed_count;
    int glibc_major, glibc_minor; /* the highest GLIBC_x.y that it asks for; 0 and 0: none */
} hd_elf;

/* HD_E_FORMAT: no ELF file of that kind, or a damaged one; `name` is for the message. */
hd_status hd_elf_read(hd_elf *out, const void *data, size_t len, const char *name, hd_error *err);

#endif
