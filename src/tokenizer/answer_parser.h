/* tokenizer/answer_parser.h: an answer as it streams: reasoning told from text, and cut at stop strings.
 *
 * The parser is a table of markers: in a mode, a marker's text leads to another mode and is not shown.  A mode gives
 * its text as one kind of piece.  (tool_parser.h tells tool calls from the text that comes out.)
 *
 * However the text is cut into pieces, the pieces that come out join to the same text of the same kinds.  What can no
 * longer become part of a stop string or marker comes out at once.  Not thread-safe; independent of tokens and models.
 */
#ifndef HD_ANSWER_PARSER_H
#define HD_ANSWER_PARSER_H

#include "base/base.h"

#define HD_ANSWER_STOPS 256        /* stop strings of one answer */
#define HD_ANSWER_STOP_BYTES 4096  /* longest stop string */
#define HD_ANSWER_PUSH (16u << 20) /* most text that one push may bring */

typedef enum hd_answer_kind { HD_ANSWER_TEXT, HD_ANSWER_REASONING } hd_answer_kind;
typedef enum hd_answer_marker { HD_MARKER_THINK, HD_MARKER_END_THINK } hd_answer_marker;

const char *hd_answer_marker_text(hd_answer_marker marker); /* "<think>", "</think>" */

/* Called with whole characters, valid during the call. */
typedef void (*hd_answer_fn)(void *arg, hd_answer_kind kind, const char *data, size_t len);

typedef struct hd_answer_parser_options {
    const char *const *stop; /* copied; UTF-8, not empty */
    size_t stop_count;
    bool split_reasoning; /* false: think markers are text */
    bool in_reasoning;    /* a think block is open already */
} hd_answer_parser_options;

typedef struct hd_answer_parser hd_answer_parser;

/* Errors: HD_E_ARGUMENT (an empty stop string, or one that is not UTF-8), HD_E_LIMIT, HD_E_MEMORY. */
hd_status hd_answer_parser_open(hd_answer_parser **out, const hd_answer_parser_options *options, hd_answer_fn fn,
                                void *arg, hd_error *err);
void hd_answer_parser_close(hd_answer_parser **parser);

/* Text of the answer, in whole characters.  A marker's text counts as that marker where one may stand: "<think>" before
 * any other text of the answer but white space, "</think>" inside of the reasoning.  Errors: HD_E_MEMORY, HD_E_LIMIT.
 */
hd_status hd_answer_parser_push(hd_answer_parser *parser, const char *data, size_t len, hd_error *err);

/* A marker that came as a token of its own: counts anywhere. */
hd_status hd_answer_parser_mark(hd_answer_parser *parser, hd_answer_marker marker, hd_error *err);

/* The answer ends: gives out what was held back. */
hd_status hd_answer_parser_finish(hd_answer_parser *parser, hd_error *err);

/* A stop string was seen: the text before it came out, the rest is ignored. */
bool hd_answer_parser_stopped(const hd_answer_parser *parser);

/* Which one: its index in the options; -1: none was. */
int hd_answer_parser_stop(const hd_answer_parser *parser);

#endif
