/* server/server.h: the door of the server room: HTTP/1.1 for strangers.  It knows no models.
 *
 * A strict parser and writers that need no socket, and the server that reads and writes sockets with them.
 */
#ifndef HD_SERVER_H
#define HD_SERVER_H

#include "server/http_parser.h"
#include "server/http_response.h"
#include "server/http_server.h"
#include "server/http_url.h"
#include "server/systemd.h"

#endif
