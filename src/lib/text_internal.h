/* lib/text_internal.h: what text.c and answer.c share. */
#ifndef HD_LIB_TEXT_INTERNAL_H
#define HD_LIB_TEXT_INTERNAL_H

#include "hadal/chat.h"
#include "tokenizer/answer_parser.h"
#include "tokenizer/template.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/tool_parser.h"

struct hd_text {
    hd_tokenizer *tok;
    hd_template *template;    /* NULL: the model has none, or it could not be read: */
    hd_error template_error;  /* why */
    int32_t think, end_think; /* ids of the think markers; -1: no tokens of their own */
    hd_tool_form tools;       /* how the model writes tool calls */
};

#endif
