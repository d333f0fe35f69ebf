/* cli/request.h: chat requests (the JSON object that include/hadal/chat.h renders) made from options and messages. */
#ifndef HD_CLI_REQUEST_H
#define HD_CLI_REQUEST_H

#include "base/base.h"
#include "cli/options.h"

/* The row of an option table that fills `list` with variables of the template. */
#define HD_VAR_OPTION(list)                                                                                            \
    {                                                                                                                  \
        .name = "var", .type = HD_OPT_LIST, .value = (list), .metavar = "NAME=VALUE",                                  \
        .help = "A variable of the model's chat template, such as enable_thinking=false; VALUE is JSON or else text."  \
    }

/* Sets the variables of `vars` in an object.  HD_E_ARGUMENT: not NAME=VALUE, or a name that is not the template's. */
hd_status hd_request_set_vars(json_t *request, const hd_opt_list *vars, hd_error *err);

/* A request of one message of the user, with a system message before it unless that is NULL.  `out` is
 * initialized here, also after an error. */
hd_status hd_request_simple(const char *system, const char *user, size_t user_len, const hd_opt_list *vars, hd_buf *out,
                            hd_error *err);

/* Appends {"role", "content"} to an array of messages. */
hd_status hd_request_add(json_t *messages, const char *role, const char *content, size_t len, hd_error *err);

#endif
