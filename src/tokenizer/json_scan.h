/* tokenizer/json_scan.h: whether bytes that come one by one are one JSON value (RFC 8259), and where it ends.
 *
 * It looks at the grammar alone: not at UTF-8, lone surrogates, the size of numbers or names that come twice.
 * White space may stand around the value.  A scan is one thread's; it owns no memory.
 */
#ifndef HD_JSON_SCAN_H
#define HD_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#define HD_JSON_SCAN_DEPTH 2048 /* arrays and objects inside each other, as jansson allows */

typedef struct hd_json_scan {
    uint8_t is_object[HD_JSON_SCAN_DEPTH / 8]; /* a bit for each level */
    int depth, state;
    int digits;          /* of a \u escape that are still to come */
    const char *literal; /* what is still to come of true, false or null */
    bool key;            /* the string is a name of an object */
} hd_json_scan;

void hd_json_scan_begin(hd_json_scan *scan);

/* The next byte.  False: no JSON value begins like this; from then on all bytes are refused. */
bool hd_json_scan_push(hd_json_scan *scan, char c);

bool hd_json_scan_in_string(const hd_json_scan *scan);

/* What came so far is a whole value.  (A number may still go on.) */
bool hd_json_scan_whole(const hd_json_scan *scan);

#endif
