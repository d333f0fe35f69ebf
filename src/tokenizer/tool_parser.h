/* tokenizer/tool_parser.h: tool calls told from the text of an answer, as it streams.
 *
 * It follows answer_parser.h, which has taken reasoning and stop strings out: only ordinary text comes here.  The text
 * becomes events: text, and for each call its beginning (with its name), the JSON text of its arguments, and its end.
 * However the text is cut into pieces, the events join to the same.  Markers count by their text, whether they came as
 * tokens or letter by letter.
 *
 * What a form's markers wrap is a call only where its whole head is there (the markers up to the arguments, in order,
 * with a name); anything else is text, byte for byte.  A call whose arguments break off, or are no JSON, ends with the
 * reason, and what follows is text.  Of what came, only a call's frame (markers and the white space between) is not
 * given.
 *
 * How long bytes wait: those that no marker can begin with come out within the push that brought them.  Others wait
 * until that is decided: at most HD_TOOL_HELD bytes, the longest head of a call (names and white space are capped), and
 * inside of a value of the arguments at most HD_TOOL_HELD_VALUE.  Not thread-safe; independent of models.
 */
#ifndef HD_TOOL_PARSER_H
#define HD_TOOL_PARSER_H

#include "base/base.h"
#include "tokenizer/tokenizer.h"

#define HD_TOOL_NAME 256         /* longest name of a tool or parameter, in bytes; OpenAI's API allows 64 */
#define HD_TOOL_SPACE 16         /* most white space that may stand between two markers */
#define HD_TOOL_HELD 656         /* V3's form up to the arguments' brace: white space, markers and two names */
#define HD_TOOL_HELD_VALUE 28    /* line break, ```, <｜tool▁call▁end｜>, less the last byte */
#define HD_TOOL_PUSH (16u << 20) /* most text that one push may bring */

/* How a model writes calls.
 * DEEPSEEK (V2.5, V3, R1; V3.1), each with the two ways of writing a call:
 *     <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\n{...}\n```<｜tool▁call▁end｜>
 *                         <｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{...}<｜tool▁call▁end｜>...<｜tool▁calls▁end｜>
 * QWEN:
 *     <tool_call>\n{"name": "NAME", "arguments": {...}}\n</tool_call>
 * DSML (V4; V3.2 says function_calls for tool_calls): parameters become the members of one JSON object.
 *     <｜DSML｜tool_calls>\n<｜DSML｜invoke name="NAME">\n<｜DSML｜parameter name="KEY" string="true|false">VALUE
 *     </｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls> */
typedef enum hd_tool_form { HD_TOOLS_NONE, HD_TOOLS_DEEPSEEK, HD_TOOLS_QWEN, HD_TOOLS_DSML } hd_tool_form;

/* The form that a model was taught: by its chat template; where that says nothing, by its vocabulary. */
hd_tool_form hd_tool_form_of(const hd_tokenizer *tok);

/* The i-th of the markers that a tokenizer may have as tokens; NULL beyond the last. */
const char *hd_tool_form_token(hd_tool_form form, size_t i);

typedef enum hd_tool_event_kind {
    HD_TOOL_TEXT,      /* data: text outside of calls */
    HD_TOOL_BEGIN,     /* data: the name */
    HD_TOOL_ARGUMENTS, /* data: the next piece of the arguments' JSON text */
    HD_TOOL_END,       /* data: nothing when the arguments are one whole JSON object; else what is wrong with them */
} hd_tool_event_kind;

typedef struct hd_tool_event {
    hd_tool_event_kind kind;
    size_t index;     /* of the call: 0, 1, ... through the answer; for text the calls so far */
    const char *data; /* whole characters where whole characters were pushed; valid during the call */
    size_t len;       /* never 0 but at an end */
} hd_tool_event;

typedef void (*hd_tool_fn)(void *arg, const hd_tool_event *event);

typedef struct hd_tool_parser hd_tool_parser;

/* With HD_TOOLS_NONE all is text.  Errors: HD_E_MEMORY. */
hd_status hd_tool_parser_open(hd_tool_parser **out, hd_tool_form form, hd_tool_fn fn, void *arg, hd_error *err);
void hd_tool_parser_close(hd_tool_parser **parser);

/* Text of the answer, in whole characters.  Errors: HD_E_MEMORY, HD_E_LIMIT. */
hd_status hd_tool_parser_push(hd_tool_parser *parser, const char *data, size_t len, hd_error *err);

/* The text ends, or something else comes between: gives out what was held back and ends an open call.  Text that is
 * pushed after it begins anew; calls go on counting. */
void hd_tool_parser_finish(hd_tool_parser *parser);

size_t hd_tool_parser_held(const hd_tool_parser *parser); /* bytes that wait */

#endif
