/* ops/supervise_page.h: the memory that a supervisor shares with its workers.
 *
 * The supervisor makes one page (memfd), maps it, and hands it to every worker.  Each worker writes to its own slot
 * only, the supervisor to the counts; all is read as untrusted, since a worker that dies may have written anything.
 * A new program file may bring other code to the same page: whoever changes the layout changes HD_SUPERVISE_FORM, and a
 * worker of another form refuses to start, so that the old one goes on.
 */
#ifndef HD_OPS_SUPERVISE_PAGE_H
#define HD_OPS_SUPERVISE_PAGE_H

#include <stdatomic.h>
#include <stdint.h>

#define HD_SUPERVISE_FORM 1u
#define HD_SUPERVISE_SLOTS 2 /* a worker, and the one that comes after it */
#define HD_CRASH_FRAMES 64
#define HD_CRASH_MODULES 64 /* the program and its libraries; some 40 */

/* Where a worker is in its life. */
typedef enum hd_worker_phase {
    HD_WORKER_STARTING, /* from the start of the process until all models have answered */
    HD_WORKER_READY,
    HD_WORKER_CLOSING /* its last connection is closed: it saves and frees */
} hd_worker_phase;

typedef struct hd_crash_module {
    uint64_t begin, end; /* addresses of its code and data */
    char name[64];       /* of the file, without folders */
    char build_id[48];   /* in hexadecimal digits; empty: it has none */
} hd_crash_module;

/* What a dying worker's signal handler leaves. */
typedef struct hd_crash_record {
    _Atomic uint32_t filled; /* 0: nothing, 1: all but the frames, 2: all */
    int32_t signal, code;    /* si_code */
    uint64_t address;        /* si_addr */
    uint64_t stack;          /* about where the thread's stack was */
    char thread[16];
    uint32_t frame_count;
    uint32_t module_count; /* these are written when the worker starts */
    uint64_t frames[HD_CRASH_FRAMES];
    hd_crash_module modules[HD_CRASH_MODULES];
} hd_crash_record;

typedef struct hd_worker_slot {
    _Atomic uint32_t phase;    /* hd_worker_phase */
    _Atomic uint32_t requests; /* under way, about */
    _Atomic uint32_t working;  /* 1: requests wait for the engine */
    _Atomic uint32_t failure;  /* errno of an exec that failed; 0: none did */
    /* Beats: numbers that move as long as the thread lives that moves them. */
    _Atomic uint64_t keeper, server, engine;
    char url[304]; /* where it listens, written before it is ready */
    char version[32];
    hd_crash_record crash;
} hd_worker_slot;

typedef struct hd_supervise_page {
    uint32_t form; /* HD_SUPERVISE_FORM */
    uint32_t size; /* of this struct */
    _Atomic uint64_t crashes, restarts;
    hd_worker_slot slots[HD_SUPERVISE_SLOTS];
} hd_supervise_page;

#endif
