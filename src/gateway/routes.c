/* gateway/routes.c: every path that the service answers. */
#include "gateway/gateway_internal.h"

#define TOKENS HD_ROUTE_MODEL
#define VECTORS (HD_ROUTE_MODEL | HD_ROUTE_WEIGHTS) /* of two precisions they can't be compared */
#define ANSWERS (HD_ROUTE_MODEL | HD_ROUTE_WEIGHTS | HD_ROUTE_ELASTIC)

const hd_route hd_routes[] = {
    {"POST", "/v1/chat/completions", "createChatCompletion", "Answer a conversation.", &hd_chat_shape, "ChatCompletion",
     "ChatCompletionChunk", ANSWERS, hd_chat_completions},
    {"POST", "/v1/completions", "createCompletion", "Continue a text.", &hd_completion_shape, "Completion",
     "Completion", ANSWERS, hd_completions},
    {"POST", "/v1/embeddings", "createEmbedding", "Turn texts into vectors.", &hd_embedding_shape, "EmbeddingList",
     NULL, VECTORS, hd_embeddings},
    {"POST", "/v1/messages", "createMessage", "Answer a conversation (Anthropic's API).", &hd_messages_shape, "Message",
     "MessageEvent", ANSWERS | HD_ROUTE_ANTHROPIC, hd_messages},
    {"POST", "/v1/messages/count_tokens", "countMessageTokens", "Count the tokens of a conversation (Anthropic's API).",
     &hd_count_tokens_shape, "TokenCount", NULL, TOKENS | HD_ROUTE_ANTHROPIC, hd_count_tokens},
    {"POST", "/tokenize", "tokenize", "Turn a text or a conversation into token ids.", &hd_tokenize_shape, "Tokens",
     NULL, TOKENS, hd_tokenize},
    {"POST", "/detokenize", "detokenize", "Turn token ids into text.", &hd_detokenize_shape, "Text", NULL, TOKENS,
     hd_detokenize},
    {"GET", "/v1/models", "listModels", "List the models.", NULL, "ModelList", NULL, 0, hd_models_page},
    {"GET", "/v1/models/{model}", "retrieveModel", "Describe a model.", NULL, "Model", NULL, 0, hd_model_page},
    {"POST", "/models/load", "loadModel", "Load a model now.", &hd_model_name_shape, "ModelState", NULL, 0,
     hd_model_load_page},
    {"POST", "/models/unload", "unloadModel", "Unload a model when its last request is over.", &hd_model_name_shape,
     "ModelState", NULL, 0, hd_model_unload_page},
    {"POST", "/v1/load_lora_adapter", "loadLoraAdapter", "Load an adapter, under a name of its own.",
     &hd_lora_load_shape, "ModelState", NULL, 0, hd_lora_load_page},
    {"POST", "/v1/unload_lora_adapter", "unloadLoraAdapter", "Unload an adapter; its requests under way go on.",
     &hd_lora_unload_shape, "ModelState", NULL, 0, hd_lora_unload_page},
    {"GET", "/livez", "livez", "Whether the engine makes progress.", NULL, "Health", NULL, HD_ROUTE_OPEN | HD_ROUTE_NOW,
     hd_page_livez},
    {"GET", "/readyz", "readyz", "Whether a model has answered lately and new work is taken.", NULL, "Health", NULL,
     HD_ROUTE_OPEN | HD_ROUTE_NOW, hd_page_readyz},
    {"GET", "/health", "health", "The same as /readyz.", NULL, "Health", NULL, HD_ROUTE_OPEN | HD_ROUTE_NOW,
     hd_page_readyz},
    {"GET", "/ping", "ping", "The same as /livez.", NULL, "Health", NULL, HD_ROUTE_OPEN | HD_ROUTE_NOW, hd_page_livez},
    {"GET", "/version", "version", "The program's version.", NULL, "Version", NULL, HD_ROUTE_OPEN | HD_ROUTE_NOW,
     hd_page_version},
    {"GET", "/metrics", "metrics", "Figures for Prometheus.", NULL, NULL, NULL, HD_ROUTE_LOCAL | HD_ROUTE_NOW,
     hd_page_metrics},
    {"GET", "/openapi.json", "openapi", "This description.", NULL, "OpenApi", NULL, HD_ROUTE_OPEN | HD_ROUTE_NOW,
     hd_page_openapi},
    {.method = NULL},
};
