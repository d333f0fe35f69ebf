/* tokenizer/utf8.h: one step through bytes that should be UTF-8.
 *
 * The rules are those of the Unicode standard, chapter 3.9 (tables 3-6 and 3-7): no overlong forms, no surrogates, at
 * most U+10FFFF; an ill-formed piece is a maximal subpart, for which a decoder shows one U+FFFD.  Thread-safe.
 */
#ifndef HD_TOKENIZER_UTF8_H
#define HD_TOKENIZER_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define HD_UTF8_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* Looks at the first character of text[len], len > 0.  Returns its length (1 to 4) and sets *cp; or 0 when the bytes
 * are the beginning of a character whose end is not there; or minus the length of an ill-formed piece. */
int hd_utf8_step(const uint8_t *text, size_t len, uint32_t *cp);

/* Writes a code point (at most U+10FFFF) and returns its length. */
int hd_utf8_put(uint8_t out[4], uint32_t cp);

#endif
