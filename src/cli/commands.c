/* cli/commands.c: the table of commands, in the order in which help lists them. */
#include <string.h>

#include "cli/cli.h"

static const hd_command commands[] = {
    {"chat", "talk with a model in the terminal", hd_cmd_chat},
    {"run", "answer one prompt, for scripts", hd_cmd_run},
    {"inspect", "show what is in a model file or folder", hd_cmd_inspect},
    {"tokenize", "turn text into token ids and back", hd_cmd_tokenize},
    {"prompt", "show what the chat template makes of messages", hd_cmd_prompt},
    {"eval", "logits, perplexity, and divergence from another model", hd_cmd_eval},
    {"bench", "measure reading and writing speed", hd_cmd_bench},
    {"quantize", "write a model with smaller weights", hd_cmd_quantize},
    {"convert", "write a model as GGUF, or as the releases have it", hd_cmd_convert},
    {"plan", "what a model would take, from its shapes alone", hd_cmd_plan},
    {"models", "the models that are here, and those that can be fetched", hd_cmd_models},
    {"pull", "fetch a model from a hub, a package index, S3, the web or a folder", hd_cmd_pull},
    {"serve", "serve models to programs, over OpenAI's and Anthropic's API", hd_cmd_serve},
    {"restart", "change the worker of a supervised service, without a gap", hd_cmd_restart},
    {"status", "how a supervised service of this machine is", hd_cmd_status},
    {"artifacts", "write units, manifests, images and packages that install the service", hd_cmd_artifacts},
    {"metrics", "the figures that a service shows to Prometheus, and what they mean", hd_cmd_metrics},
    {"key", "make, list and revoke the API keys of a service", hd_cmd_key},
    {"health", "whether the service of this machine lives", hd_cmd_health},
    {"help", "the manual page of a command", hd_cmd_help},
    {"version", "the version of this program", hd_cmd_version},
};

const hd_command *hd_commands(size_t *count)
{
    *count = HD_ARRAY_LEN(commands);
    return commands;
}

const hd_command *hd_command_find(const char *name)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}
