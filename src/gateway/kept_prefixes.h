/* gateway/kept_prefixes.h: cached prompts that survive a restart: one sealed file per model in the data folder. */
#ifndef HD_GATEWAY_KEPT_PREFIXES_H
#define HD_GATEWAY_KEPT_PREFIXES_H

#include "gateway/models.h"

/* Writes what the model has cached; replaces the file.  Nothing waits for it but its caller. */
hd_status hd_prefixes_save(const hd_served *model, const hd_data_folder *folder, hd_error *err);

/* Reads it back; *pages is how many were added.  No file is fine, and so is one of other weights, another tier or an
 * older format: it is left out.  HD_E_CHECKSUM: damaged; what was read before stays. */
hd_status hd_prefixes_load(hd_served *model, const hd_data_folder *folder, int64_t *pages, hd_error *err);

#endif
