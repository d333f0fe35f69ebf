/* tokenizer/unicode.h: where versions of Unicode differ.
 *
 * Ids are right when they are those of the tokenizers library, and so of the model's training.  That library takes the
 * categories of its regular expressions from Unicode 16 and its NFC from Unicode 9; PCRE2 10.42 and utf8proc 2.8 have
 * Unicode 14 and 15.  Thread-safe.
 */
#ifndef HD_TOKENIZER_UNICODE_H
#define HD_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

/* For a character that came with Unicode 15 to 16: an older one of the same general category and length in UTF-8, which
 * a pattern treats as it should treat this one.  Any other character is returned as it is.  The first is U+0897. */
uint32_t hd_unicode_older(uint32_t cp);

/* A mark that the library does not reorder or compose, because it came after Unicode 9. */
bool hd_unicode_unordered(uint32_t cp);

#endif
