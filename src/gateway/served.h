/* gateway/served.h: what a loaded model consists of: opened in order, and shut. */
#ifndef HD_GATEWAY_SERVED_H
#define HD_GATEWAY_SERVED_H

#include "gateway/models.h"

/* Opens engine, tokenizer and scheduler of the model at model->path and lets it give one token.  After an error nothing
 * is open. */
hd_status hd_served_open(hd_served *model, const hd_gateway_options *options, hd_error *err);

/* Shuts what is open; nothing is fine. */
void hd_served_shut(hd_served *model);

/* Evaluates a prompt of a tenant's and one token of its answer, and waits for it; fills passed_ns. */
hd_status hd_served_evaluate(hd_served *model, const int32_t *ids, size_t count, const uint8_t salt[HD_SCHEDULER_SALT],
                             hd_error *err);

/* One token through the whole model, waited for; fills passed_ns. */
hd_status hd_served_probe(hd_served *model, hd_error *err);

#endif
