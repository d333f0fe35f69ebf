/* fuzz_s3_list.c: the listing of a bucket, as a server that is not to be trusted may send it; in two pages, so that
 * what the first left is built upon. */
#include <string.h>

#include "net/net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hd_s3_list list = {0};
    size_t half = size / 2;
    char *text = hd_strndup((const char *)data, size); /* exact, so that reading behind it is seen */
    if (!text) return 0;
    if (hd_s3_list_parse(&list, text, size, NULL) == HD_OK)
        (void)hd_s3_list_parse(&list, text + half, size - half, NULL);
    for (size_t i = 0; i < list.count; i++)
        if (strlen(list.objects[i].key) > size) __builtin_trap(); /* decoding never lengthens */
    hd_s3_list_free(&list);
    hd_free(text);
    return 0;
}
