/* ops/render.h: templates: the part of Helm's language that our charts use, so that `hadal artifacts kubernetes` and a
 * chart rendered by Helm give the same bytes for the same values.
 *
 *   {{ .Values.port }}  {{ .Release.Name | quote }}
 *   {{- if .Values.hpa }} ... {{- else }} ... {{- end }}  {{- if not .Values.hpa }} ... {{- end }}
 *
 * No functions but quote, no ranges, no variables; {{- and -}} trim white space as Go does.
 *
 * Source: the documentation of Go's text/template and of Helm.  No state; any thread.
 */
#ifndef HD_OPS_RENDER_H
#define HD_OPS_RENDER_H

#include "base/base.h"

/* The value of a path without its first dot ("Values.port"); NULL: there is none. */
typedef const char *(*hd_render_value)(void *arg, const char *path);

/* Appends the template `text` [len] with its values filled in.  "", "false" and "0" are false.  Errors say `name` and a
 * line: HD_E_FORMAT (what the language above has not, an if without end), HD_E_NOT_FOUND (no such value),
 * HD_E_MEMORY. */
hd_status hd_render(hd_buf *out, const char *name, const char *text, size_t len, hd_render_value value, void *arg,
                    hd_error *err);

#endif
