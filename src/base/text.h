/* base/text.h: text of strangers made fit to show.  Thread-safe. */
#ifndef HD_BASE_TEXT_H
#define HD_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character of valid UTF-8 (RFC 3629) that `text` begins with, of `len` >= 1 bytes; 0: it begins with
 * none. */
size_t hd_text_character(const char *text, size_t len);

/* Whether `text` is valid UTF-8 (RFC 3629), as JSON must be.  A path of Linux need not be. */
bool hd_text_is_utf8(const char *text);

/* Whether `text` ends with `end`, letter for letter. */
bool hd_text_ends_with(const char *text, const char *end);

/* Whether it is longer and ends so in any case: a file's name with that suffix. */
bool hd_text_ends_like(const char *text, const char *suffix);

/* Replaces in place, by '?', every byte of `text` that is not valid UTF-8 (RFC 3629) and each byte of a control
 * character (C0 with line ends, DEL, C1): file names and keys come from hostile files and would otherwise drive a
 * terminal, forge a log line or break the JSON that carries an error. */
void hd_text_clean(char *text);

/* "92.9 MB", decimal units; returns `text`. */
#define HD_SIZE_TEXT 24
const char *hd_size_text(char text[HD_SIZE_TEXT], uint64_t bytes);

#endif
