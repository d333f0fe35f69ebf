/* cli/models_dir.h: the folder where `pull` puts models, and what it writes beside each.
 *
 *     <models>/<name>/...             the files of one model
 *     <models>/<name>/pulled.json     where they came from, their sizes and SHA-256 (the record)
 *     <models>/.pulling/<name>/...    a pull that is not finished; <name>.lock keeps two from doing the same
 *
 * A folder appears under its name only when it is whole.  Files and folders that the user put there are models too;
 * they have no record.
 */
#ifndef HD_CLI_MODELS_DIR_H
#define HD_CLI_MODELS_DIR_H

#include "base/base.h"

#define HD_RECORD_NAME "pulled.json"

/* `flag` (--models-dir), else $HADAL_MODELS, else $XDG_DATA_HOME/hadal/models, else ~/.local/share/hadal/models.  The
 * folder need not exist.  *out is the caller's. */
hd_status hd_models_dir(char **out, const char *flag, hd_error *err);

/* Like hd_model_resolve (cli.h), in the models folder `dir`. */
hd_status hd_model_resolve_in(const char *dir, const char *name, char **path, hd_error *err);

/* What a model's folder should be given to the engine as: the file of a GGUF model (the first of a split one), the
 * folder itself for anything else.  *out is the caller's. */
hd_status hd_model_folder_entry(char **out, const char *folder, hd_error *err);

/* Whether an entry of the models folder may be a model: a folder, a .safetensors file, a .gguf file that is not a later
 * part of a split one; nothing hidden. */
bool hd_model_may_be(const char *path, const char *name);

/* The name of the only model in the models folder.  HD_E_NOT_FOUND: there is none; HD_E_ARGUMENT: there are several.
 * *name is the caller's. */
hd_status hd_model_only(char **name, hd_error *err);

/* Length of the name of a GGUF model without its ending: "x" of "x.gguf" and of "x-00002-of-00005.gguf", which is part
 * 2 of 5; the whole length when `name` is not a GGUF file. */
size_t hd_gguf_split_name(const char *name, int *part, int *parts);

/* The record of a model's folder; HD_E_NOT_FOUND when it has none.  *out is owned by the caller (json_decref). */
hd_status hd_record_read(json_t **out, const char *folder, hd_error *err);

/* What the authors of the model at `path` (a resolved one) advise for sampling, by its record: sets *temperature and
 * *top_p where the record has them, and leaves them else. */
void hd_model_advice(const char *path, double *temperature, double *top_p);

/* Whether the name of a file is longer than the suffix and ends with it. */
bool hd_name_has_suffix(const char *text, const char *suffix);

#endif
