/* gateway/warm_up.h: prompts that are evaluated when a model is loaded, so that the first requests find them cached.
 *
 * A list is a JSON array of {"prompt": TEXT} or {"messages": [...], "tools": [...]}, each with "model" (a name; else
 * every model) and "key" (the name of an API key; else every live key).  Tenants share nothing, so a prompt is
 * evaluated for each of its keys.
 */
#ifndef HD_GATEWAY_WARM_UP_H
#define HD_GATEWAY_WARM_UP_H

#include <jansson.h>

#include "gateway/models.h"

/* Reads and checks the file; *out is the list (json_decref).  Errors name the file and the field. */
hd_status hd_warm_up_read(json_t **out, const char *path, hd_error *err);

/* Evaluates the prompts of `list` that are meant for the model, one after the other, each for its keys (NULL: the one
 * tenant that there is).  What can't be evaluated (a prompt that is too long, an unknown key) is logged and left out.
 */
void hd_warm_up(hd_served *model, hd_api_keys *keys, const json_t *list);

#endif
