/* quantize/prune_internal.h: what prune.c, which chooses what stays, tells source_pruned.c, which shows it. */
#ifndef HD_QUANTIZE_PRUNE_INTERNAL_H
#define HD_QUANTIZE_PRUNE_INTERNAL_H

#include "quantize/prune.h"

/* What stays of a layer, as rising numbers; NULL: the layer has none of it, or all stay. */
typedef struct hd_kept {
    int32_t *channels; /* [after.ffn] of a dense network */
    int32_t *shared;   /* [after.expert_ffn * experts_shared] of the shared experts' one network */
    int32_t *experts;  /* [after.experts] */
    int32_t *routed;   /* [after.experts][after.expert_ffn] channels of each expert that stays */
} hd_kept;

/* Sets facts->before and facts->after, and kept[before.layers], whose lists lie in `arena`. */
hd_status hd_prune_choose(hd_kept **kept, hd_arena *arena, const hd_source *base, const hd_prune_options *options,
                          hd_pruned *facts, hd_error *err);

/* Whether a tensor has these dimensions; 0 in the place of one: it has fewer. */
bool hd_prune_shaped(const hd_tensor *t, int64_t a, int64_t b, int64_t c);

#endif
