/* server/addresses.c: addresses as text, and how many connections each client has; see
 * server_internal.h.
 *
 * A chained hash table.  It holds no more entries than there are connections, whose number is limited, so that chains
 * that somebody makes long on purpose stay bearable.
 */
#include <arpa/inet.h>
#include <string.h>

#include "server/server_internal.h"

struct hd_address {
    hd_address *next;
    unsigned char key[16]; /* IPv6; of IPv4 the mapped form (RFC 4291 section 2.5.5.2) */
    int count;
};

static bool is_mapped(const unsigned char key[16])
{
    static const unsigned char prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(key, prefix, sizeof prefix) == 0;
}

static void make_key(const struct sockaddr_storage *peer, unsigned char key[16])
{
    memset(key, 0, 16);
    if (peer->ss_family == AF_INET6) {
        memcpy(key, &((const struct sockaddr_in6 *)peer)->sin6_addr, 16);
        if (!is_mapped(key)) memset(key + 8, 0, 8);
    } else if (peer->ss_family == AF_INET) {
        key[10] = key[11] = 0xff;
        memcpy(key + 12, &((const struct sockaddr_in *)peer)->sin_addr, 4);
    }
}

/* FNV-1a */
static size_t bucket_of(const unsigned char key[16])
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (int i = 0; i < 16; i++)
        hash = (hash ^ key[i]) * 0x100000001b3u;
    return hash % HD_ADDRESS_BUCKETS;
}

hd_address *hd_addresses_enter(hd_addresses *addresses, const struct sockaddr_storage *peer)
{
    unsigned char key[16];
    make_key(peer, key);
    hd_address **bucket = &addresses->buckets[bucket_of(key)];
    for (hd_address *a = *bucket; a; a = a->next) {
        if (memcmp(a->key, key, sizeof key) != 0) continue;
        if (a->count >= addresses->limit) return NULL;
        a->count++;
        return a;
    }
    hd_address *fresh = hd_calloc(1, sizeof *fresh);
    if (!fresh) return NULL;
    memcpy(fresh->key, key, sizeof key);
    fresh->count = 1;
    fresh->next = *bucket;
    *bucket = fresh;
    return fresh;
}

void hd_addresses_leave(hd_addresses *addresses, hd_address *address)
{
    if (--address->count > 0) return;
    hd_address **link = &addresses->buckets[bucket_of(address->key)];
    while (*link != address)
        link = &(*link)->next;
    *link = address->next;
    hd_free(address);
}

bool hd_address_is_loopback(const char *address)
{
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, address, &four) == 1) return ntohl(four.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, address, &six) != 1) return false;
    return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
}

void hd_address_text(const struct sockaddr_storage *peer, char *out, size_t size)
{
    unsigned char key[16];
    out[0] = '\0';
    if (peer->ss_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)peer)->sin_addr, out, (socklen_t)size);
    } else if (peer->ss_family == AF_INET6) {
        memcpy(key, &((const struct sockaddr_in6 *)peer)->sin6_addr, sizeof key);
        bool mapped = is_mapped(key);
        inet_ntop(mapped ? AF_INET : AF_INET6, mapped ? key + 12 : key, out, (socklen_t)size);
    }
}
