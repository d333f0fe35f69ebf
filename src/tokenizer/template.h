/* tokenizer/template.h: chat prompts: the subset of Jinja that real chat templates use, and V4's own encoding.
 *
 * Rendering is pure: no files, no time but `strftime_now` from the injected clock, no unbounded loops:
 * HD_TEMPLATE_STEPS and HD_TEMPLATE_BYTES cap it.  Each byte of the output carries whether it came from the template
 * (trusted) or from the request (not): only trusted bytes may become added tokens.  A template is immutable: rendering
 * from several threads is fine.  docs/templates.md describes the subset.
 */
#ifndef HD_TEMPLATE_H
#define HD_TEMPLATE_H

#include "base/base.h"

#define HD_TEMPLATE_STEPS 4000000     /* a node, or 64 bytes copied, is one; 1,000 messages take about 100,000 */
#define HD_TEMPLATE_BYTES (64u << 20) /* all values of a rendering, its output and map of trust together */
#define HD_TEMPLATE_SOURCE (1u << 20) /* longest template text; real ones are below 20 KB */

typedef struct hd_template hd_template;

typedef struct hd_rendered {
    hd_buf text;
    hd_buf trusted; /* one byte for each byte of text: 1 = from the template */
} hd_rendered;
void hd_rendered_free(hd_rendered *r);

/* Parses a template.  Errors name line and what was expected: HD_E_FORMAT, HD_E_UNSUPPORTED, HD_E_LIMIT,
 * HD_E_MEMORY. */
hd_status hd_template_parse(hd_template **out, const char *source, size_t len, hd_error *err);
void hd_template_free(hd_template **t);

/* Renders with the members of the JSON object `vars` as variables (messages, tools, add_generation_prompt, ...);
 * trusted are its strings bos_token and eos_token, and the role of a message where it is one of the well-known words;
 * all other strings are not.  `raise_exception(text)` in a template gives HD_E_ARGUMENT with that text.  Other errors:
 * HD_E_FORMAT (a type error in the template), HD_E_UNSUPPORTED (a filter or test that does not exist), HD_E_LIMIT,
 * HD_E_MEMORY; all name the line.  *out must be zeroed or a result of hd_rendered_free. */
hd_status hd_template_render(const hd_template *t, const json_t *vars, hd_rendered *out, hd_error *err);

/* DeepSeek-V4's published encoding (encoding_dsv4.py of the release), which ships instead of a template.  `vars` holds
 * messages, tools, thinking_mode ("chat" or "thinking"), reasoning_effort and the other options of that encoding. */
hd_status hd_v4_render(const json_t *vars, hd_rendered *out, hd_error *err);

#endif
