/* net/send.h: one POST of bytes, for what a service tells others: one attempt, no redirect followed; the caller decides
 * what is tried again.  Rules, certificates and threading are those of net.h. */
#ifndef HD_NET_SEND_H
#define HD_NET_SEND_H

#include "net/net.h"

typedef struct hd_http_pair {
    const char *name, *value; /* without line ends; values may be secrets and are shown nowhere */
} hd_http_pair;

typedef struct hd_http_send_request {
    const char *url;
    const hd_net_rules *rules;
    const char *content_type;
    const void *body;
    size_t len;
    const hd_http_pair *headers; /* [header_count] */
    size_t header_count;
    uint32_t timeout_ms;      /* of the whole */
    bool (*go_on)(void *arg); /* asked several times a second; false ends it (HD_E_CANCELLED).  NULL: always */
    void *arg;
} hd_http_send_request;

#define HD_HTTP_SENT_BODY 4096

typedef struct hd_http_sent {
    int status;             /* of HTTP */
    uint32_t after_seconds; /* Retry-After, at most an hour; 0: none */
    size_t len;             /* of the body's beginning that is kept */
    char body[HD_HTTP_SENT_BODY];
} hd_http_sent;

/* HD_OK: there is an answer, whatever its status.  HD_E_NETWORK, HD_E_ARGUMENT (the address is not allowed),
 * HD_E_CANCELLED, HD_E_MEMORY. */
hd_status hd_http_send(const hd_http_send_request *request, hd_http_sent *out, hd_error *err);

#endif
