/* net/s3_list.c: reads the listing of a bucket (ListObjectsV2); see net.h.
 *
 * The answer is XML of one fixed shape, and with encoding-type=url every key is percent-encoded: so this looks for the
 * few elements that matter and needs no XML library.  Source: AWS, API reference of ListObjectsV2.
 */
#include <stdlib.h>
#include <string.h>

#include "net/net.h"

#define MAX_OBJECTS 100000
#define MAX_KEY 4096 /* S3 allows 1,024 bytes; three times that when encoded */

/* The text between <name> and </name> in [xml, end); *after is behind it.  NULL data: there is none. */
static hd_str element(const char *xml, const char *end, const char *name, const char **after)
{
    char tag[40];
    int open_len = snprintf(tag, sizeof tag, "<%s>", name);
    const char *start = memmem(xml, (size_t)(end - xml), tag, (size_t)open_len);
    if (!start) return (hd_str){NULL, 0};
    start += open_len;
    int close_len = snprintf(tag, sizeof tag, "</%s>", name);
    const char *stop = memmem(start, (size_t)(end - start), tag, (size_t)close_len);
    if (!stop) return (hd_str){NULL, 0};
    if (after) *after = stop + close_len;
    return (hd_str){start, (size_t)(stop - start)};
}

/* The five entities of XML, in place. */
static void decode_entities(char *text)
{
    static const struct {
        const char *name;
        char c;
    } entities[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}, {"&#43;", '+'}};
    char *out = text;
    for (const char *in = text; *in;) {
        size_t i = 0;
        while (i < HD_ARRAY_LEN(entities) && strncmp(in, entities[i].name, strlen(entities[i].name)) != 0)
            i++;
        if (i < HD_ARRAY_LEN(entities)) {
            *out++ = entities[i].c;
            in += strlen(entities[i].name);
        } else
            *out++ = *in++;
    }
    *out = '\0';
}

static hd_status add_object(hd_s3_list *list, hd_str contents, hd_error *err)
{
    hd_str key = element(contents.data, contents.data + contents.len, "Key", NULL);
    hd_str size = element(contents.data, contents.data + contents.len, "Size", NULL);
    if (!key.data || key.len > MAX_KEY || !size.data || size.len == 0 || size.len > 19)
        return hd_fail(err, HD_E_FORMAT, "the bucket's listing has an object without a usable key and size");
    uint64_t bytes = 0;
    for (size_t i = 0; i < size.len; i++) {
        if (size.data[i] < '0' || size.data[i] > '9')
            return hd_fail(err, HD_E_FORMAT, "the bucket's listing has a size that is no number");
        bytes = bytes * 10 + (uint64_t)(size.data[i] - '0');
    }
    if (list->count == MAX_OBJECTS)
        return hd_fail(err, HD_E_LIMIT, "more than %d objects: name a longer prefix", MAX_OBJECTS);
    hd_s3_object *grown = hd_realloc_array(list->objects, list->count + 1, sizeof *grown);
    if (!grown) return hd_fail(err, HD_E_MEMORY, "out of memory for a bucket's listing");
    list->objects = grown;
    char *text = hd_strndup(key.data, key.len);
    if (!text) return hd_fail(err, HD_E_MEMORY, "out of memory for a bucket's listing");
    list->objects[list->count++] = (hd_s3_object){text, bytes};
    decode_entities(text);
    for (char *c = text; *c; c++)
        if (*c == '+') *c = ' '; /* the form encoding of a space; a plus itself comes as %2B */
    if (!hd_url_decode(text)) return hd_fail(err, HD_E_FORMAT, "the bucket's listing has a malformed key");
    return HD_OK;
}

hd_status hd_s3_list_parse(hd_s3_list *list, const char *xml, size_t len, hd_error *err)
{
    hd_free(list->next);
    list->next = NULL;
    if (!len || !memmem(xml, len, "<ListBucketResult", 17))
        return hd_fail(err, HD_E_FORMAT, "the server's answer is not the listing of a bucket");
    const char *at = xml, *end = xml + len;
    for (hd_str contents; (contents = element(at, end, "Contents", &at)).data;)
        HD_TRY(add_object(list, contents, err));
    hd_str token = element(xml, end, "NextContinuationToken", NULL);
    if (!token.data) return HD_OK;
    if (token.len == 0 || token.len > MAX_KEY) return hd_fail(err, HD_E_FORMAT, "the bucket's listing has a bad token");
    list->next = hd_strndup(token.data, token.len);
    if (!list->next) return hd_fail(err, HD_E_MEMORY, "out of memory for a bucket's listing");
    decode_entities(list->next);
    return HD_OK;
}

void hd_s3_list_free(hd_s3_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        hd_free(list->objects[i].key);
    hd_free(list->objects);
    hd_free(list->next);
    *list = (hd_s3_list){0};
}
