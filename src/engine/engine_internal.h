/* engine/engine_internal.h: pages, and the structures behind the door. */
#ifndef HD_ENGINE_INTERNAL_H
#define HD_ENGINE_INTERNAL_H

#include <stdatomic.h>

#include "engine/engine.h"
#include "tensor/operator_times.h"

/* ---- pages (pages.c): blocks of page_bytes for HD_PAGE_ROWS tokens, counted by reference, reused when free ---- */

typedef struct hd_pages {
    size_t page_bytes;
    int64_t limit; /* pages in use at most; 0: none */
    int64_t in_use, free_count;
    struct hd_page *free; /* list of pages that nobody holds */
} hd_pages;

void hd_pages_init(hd_pages *p, size_t page_bytes, int64_t limit);
void hd_pages_free(hd_pages *p); /* every page must have been released */

/* A page's data (aligned to a cache line) with one reference.  NULL: no memory, or the limit is reached. */
uint8_t *hd_page_take(hd_pages *p);
void hd_page_share(uint8_t *data);
void hd_page_release(hd_pages *p, uint8_t *data);
bool hd_page_is_shared(const uint8_t *data);

struct hd_core {
    const hd_checkpoint *ckpt;
    hd_checkpoint *own; /* the same, where the core opened it; else NULL */
    hd_model *model;
    hd_pool *pool;
    const hd_backend *backend;
    bool may_sample;
    hd_operator_times *times; /* NULL: no pass is sampled */
    hd_pages pages;
    int64_t context, chunk;
    uint64_t fingerprint; /* of model, tier and page format: snapshots carry it */
    hd_span *spans;       /* [chunk] */
    int32_t *ids;         /* [chunk] */
    float *logits;        /* staging for steps of several sequences; grows */
    size_t logits_rows;
    atomic_bool cancelled;
};

struct hd_seq {
    hd_core *core;
    int32_t *tokens;
    int64_t length, tokens_cap;
    uint8_t **pages; /* page i holds positions i * HD_PAGE_ROWS ... */
    int64_t page_count, pages_cap;
    int64_t kept;  /* tokens that have room reserved, if more than the length */
    float *logits; /* [vocab]; NULL before the first step */
    bool has_logits;
    float *hidden; /* [hidden]; NULL: not kept */
    bool has_hidden;
    hd_lora *lora; /* a reference; NULL: none */
    bool in_step;  /* among the feeds of the step under way */
};

/* Gives back pages beyond the length and what is reserved. */
void hd_seq_trim(hd_seq *seq);

/* Room for n more tokens without keeping it. */
hd_status hd_seq_grow(hd_seq *seq, int64_t n, hd_error *err);

/* Space for the ids and the page list of `tokens` tokens; no pages. */
hd_status hd_seq_grow_arrays(hd_seq *seq, int64_t tokens, hd_error *err);

/* Over whole words of 8 bytes; finds damage (docs/engine.md). */
uint64_t hd_snapshot_checksum(const uint8_t *data, size_t size);

hd_status hd_seq_need_logits(hd_seq *seq, hd_error *err); /* allocates them where they are not there yet */

#endif
