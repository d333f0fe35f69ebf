/* engine/pages.c: see engine_internal.h.  A page is a header of one cache line, then its data. */
#include "engine/engine_internal.h"

typedef struct hd_page {
    struct hd_page *next; /* while free */
    int64_t refs;
} hd_page;

_Static_assert(sizeof(hd_page) <= HD_CACHE_LINE, "the header must fit before the aligned data");

static hd_page *header(const uint8_t *data)
{
    return (hd_page *)(void *)(data - HD_CACHE_LINE);
}

void hd_pages_init(hd_pages *p, size_t page_bytes, int64_t limit)
{
    *p = (hd_pages){.page_bytes = page_bytes, .limit = limit};
}

void hd_pages_free(hd_pages *p)
{
    while (p->free) {
        hd_page *page = p->free;
        p->free = page->next;
        hd_free_aligned(page);
    }
    p->free_count = 0;
}

uint8_t *hd_page_take(hd_pages *p)
{
    if (p->limit && p->in_use >= p->limit) return NULL;
    hd_page *page = p->free;
    if (page) {
        p->free = page->next;
        p->free_count--;
    } else if (!(page = hd_alloc_aligned(HD_CACHE_LINE + p->page_bytes)))
        return NULL;
    *page = (hd_page){.refs = 1};
    p->in_use++;
    return (uint8_t *)page + HD_CACHE_LINE;
}

void hd_page_share(uint8_t *data)
{
    header(data)->refs++;
}

void hd_page_release(hd_pages *p, uint8_t *data)
{
    hd_page *page = header(data);
    if (--page->refs > 0) return;
    page->next = p->free;
    p->free = page;
    p->free_count++;
    p->in_use--;
}

bool hd_page_is_shared(const uint8_t *data)
{
    return header(data)->refs > 1;
}
