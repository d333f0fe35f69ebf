/* analysis.h: included before every source that clang-tidy reads (tools/analyze), to tell it what it can't see: hd_fail and
 * hd_fail_in live in another file and give back the status that they were given, so a failed call never looks like HD_OK. */
#include "hadal/status.h"

#define hd_fail(err, status, ...) (hd_fail(err, status, __VA_ARGS__) == HD_OK ? HD_E_INTERNAL : (status))
#define hd_fail_in(err, status, ...) (hd_fail_in(err, status, __VA_ARGS__) == HD_OK ? HD_E_INTERNAL : (status))
