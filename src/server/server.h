/* server/server.h: the door of the server room: HTTP/1.1 for strangers.  It knows no models.
 *
 * So far without a socket: requests out of bytes, replies into bytes.
 */
#ifndef HD_SERVER_H
#define HD_SERVER_H

#include "server/http_parser.h"
#include "server/http_response.h"
#include "server/http_url.h"

#endif
