/* base/metric_families.inc.h: the rows of the table; see metric_families.h. */

#define HD_METRICS_OF_REQUESTS(X)                                                                                      \
    X(RUNNING, "Requests", GAUGE, "vllm:num_requests_running", "requests", HD_LM, "Requests in the batch.")            \
    X(WAITING, "Requests", GAUGE, "vllm:num_requests_waiting", "requests", HD_LM,                                      \
      "Requests that wait for their turn.")                                                                            \
    X(SWAPPED, "Requests", GAUGE, "vllm:num_requests_swapped", "requests", HD_LM,                                      \
      "Requests that left the batch until their client reads on.")                                                     \
    X(FIRST_TOKEN, "Requests", HISTOGRAM, "vllm:time_to_first_token_seconds", "seconds", HD_LM,                        \
      "From the request's first byte to the first token.")                                                             \
    X(INTER_TOKEN, "Requests", HISTOGRAM, "vllm:inter_token_latency_seconds", "seconds", HD_LM,                        \
      "Between two tokens of an answer.")                                                                              \
    X(PER_TOKEN_OLD, "Requests", HISTOGRAM, "vllm:time_per_output_token_seconds", "seconds", HD_LM,                    \
      "The same under its older name.")                                                                                \
    X(PER_TOKEN, "Requests", HISTOGRAM, "vllm:request_time_per_output_token_seconds", "seconds", HD_LM,                \
      "The mean of that for each request.")                                                                            \
    X(E2E, "Requests", HISTOGRAM, "vllm:e2e_request_latency_seconds", "seconds", HD_LM,                                \
      "From the request's first byte to its end.")                                                                     \
    X(QUEUE_TIME, "Requests", HISTOGRAM, "vllm:request_queue_time_seconds", "seconds", HD_LM,                          \
      "Waiting for a place in the batch.")                                                                             \
    X(PREFILL_TIME, "Requests", HISTOGRAM, "vllm:request_prefill_time_seconds", "seconds", HD_LM,                      \
      "From then to the first token.")                                                                                 \
    X(DECODE_TIME, "Requests", HISTOGRAM, "vllm:request_decode_time_seconds", "seconds", HD_LM,                        \
      "From the first token to the last.")                                                                             \
    X(INFERENCE_TIME, "Requests", HISTOGRAM, "vllm:request_inference_time_seconds", "seconds", HD_LM,                  \
      "From the place in the batch to the last token.")                                                                \
    X(PROMPT_LENGTH, "Requests", HISTOGRAM, "vllm:request_prompt_tokens", "tokens", HD_LM, "Tokens of a prompt.")      \
    X(ANSWER_LENGTH, "Requests", HISTOGRAM, "vllm:request_generation_tokens", "tokens", HD_LM, "Tokens of an answer.") \
    X(MAX_TOKENS, "Requests", HISTOGRAM, "vllm:request_max_num_generation_tokens", "tokens", HD_LM,                    \
      "Tokens that an answer may have.")                                                                               \
    X(MAX_TOKENS_OLD, "Requests", HISTOGRAM, "vllm:request_params_max_tokens", "tokens", HD_LM,                        \
      "The same under its older name.")                                                                                \
    X(CHOICES, "Requests", HISTOGRAM, "vllm:request_params_n", "answers", HD_LM, "Answers that a request wants.")      \
    X(COMPUTED, "Requests", HISTOGRAM, "vllm:request_prefill_kv_computed_tokens", "tokens", HD_LM,                     \
      "Tokens of a prompt that were not cached.")                                                                      \
    X(SUCCESS, "Requests", COUNTER, "vllm:request_success_total", "requests", HD_LM ", finished_reason",               \
      "Requests that have ended, by the reason.")                                                                      \
    X(REJECTED, "Requests", COUNTER, "vllm:admission_rejections_total", "requests", HD_LM,                             \
      "Requests refused because the queue was full.")                                                                  \
    X(PROMPT_TOKENS, "Requests", COUNTER, "vllm:prompt_tokens_total", "tokens", HD_LM, "Tokens of prompts.")           \
    X(CACHED_TOKENS, "Requests", COUNTER, "vllm:prompt_tokens_cached_total", "tokens", HD_LM,                          \
      "Tokens of prompts that were not evaluated again.")                                                              \
    X(ANSWER_TOKENS, "Requests", COUNTER, "vllm:generation_tokens_total", "tokens", HD_LM, "Tokens of answers.")       \
    X(PRECISION_ASKED, "Requests", COUNTER, "hadal:requests_precision_total", "requests", HD_LM ", precision",         \
      "Requests given to the model, by the precision of its weights.")                                                 \
    X(PRECISION_CHEAPER, "Requests", GAUGE, "hadal:precision_cheaper", "0 or 1", HD_LM,                                \
      "1: new requests go to the cheaper precision.")                                                                  \
    X(PRECISION_LOAD, "Requests", GAUGE, "hadal:precision_load", "requests", HD_LM,                                    \
      "Requests that count, of both precisions.")                                                                      \
    X(PRECISION_SWITCHES, "Requests", COUNTER, "hadal:precision_switches_total", "changes", HD_LM,                     \
      "Changes of where new requests go, both ways.")

#define HD_METRICS_OF_ENGINES(X)                                                                                       \
    X(CACHE_SHARE, "Engine and cache", GAUGE, "vllm:kv_cache_usage_perc", "ratio", HD_LM,                              \
      "Share of the cache that is in use, 0 to 1.")                                                                    \
    X(CACHE_CONFIG, "Engine and cache", GAUGE, "vllm:cache_config_info", "1", HD_LM ", block_size, num_gpu_blocks",    \
      "How the cache is made.")                                                                                        \
    X(CACHE_PAGES, "Engine and cache", GAUGE, "hadal:kv_cache_pages", "pages", HD_LM, "Pages of the cache in use.")    \
    X(CACHE_BYTES, "Engine and cache", GAUGE, "hadal:kv_cache_bytes", "bytes", HD_LM, "Bytes of the cache in use.")    \
    X(PREFIX_QUERIES, "Engine and cache", COUNTER, "vllm:prefix_cache_queries_total", "tokens", HD_LM,                 \
      "Tokens of prompts looked up in the prefix cache.")                                                              \
    X(PREFIX_HITS, "Engine and cache", COUNTER, "vllm:prefix_cache_hits_total", "tokens", HD_LM,                       \
      "Tokens of prompts found there.")                                                                                \
    X(PREEMPTIONS, "Engine and cache", COUNTER, "vllm:num_preemptions_total", "requests", HD_LM,                       \
      "Requests that had to leave the cache and were evaluated again.")                                                \
    X(STEP_TOKENS, "Engine and cache", HISTOGRAM, "vllm:iteration_tokens_total", "tokens", HD_LM,                      \
      "Tokens of a pass, of prompts and answers.")                                                                     \
    X(STEPS, "Engine and cache", COUNTER, "hadal:engine_steps_total", "passes", HD_LM, "Passes through the model.")    \
    X(STEP_SECONDS, "Engine and cache", HISTOGRAM, "hadal:engine_step_seconds", "seconds", HD_LM ", kind",             \
      "Time of a pass: prefill, with tokens of prompts in it, or decode, with those of answers alone.")                \
    X(STEP_REQUESTS, "Engine and cache", HISTOGRAM, "hadal:engine_step_requests", "requests", HD_LM,                   \
      "Requests evaluated in a pass.")                                                                                 \
    X(EVALUATED, "Engine and cache", COUNTER, "hadal:engine_prompt_tokens_evaluated_total", "tokens", HD_LM,           \
      "Tokens of prompts that passes evaluated, those evaluated again after a pre-emption among them.")                \
    X(ENGINE_REQUESTS, "Engine and cache", COUNTER, "hadal:engine_requests_total", "requests", HD_LM,                  \
      "Requests that the engine was given, those of health among them.")                                               \
    X(STALLED, "Engine and cache", GAUGE, "hadal:engine_stalled_seconds", "seconds", HD_LM,                            \
      "How long there has been work and no pass has ended.")                                                           \
    X(OPERATOR_SECONDS, "Engine and cache", COUNTER, "hadal:engine_operator_seconds_total", "seconds",                 \
      HD_LM ", operator", "Time of operators by their class, in the passes that were sampled, one in 31.")             \
    X(OPERATOR_CALLS, "Engine and cache", COUNTER, "hadal:engine_operator_calls_total", "calls", HD_LM ", operator",   \
      "How often they were called in those passes.")                                                                   \
    X(SAMPLED_STEPS, "Engine and cache", COUNTER, "hadal:engine_sampled_steps_total", "passes", HD_LM,                 \
      "Passes that were sampled for the times of operators.")                                                          \
    X(SAMPLED_SECONDS, "Engine and cache", COUNTER, "hadal:engine_sampled_seconds_total", "seconds", HD_LM,            \
      "Time of those passes, what is between operators included.")                                                     \
    X(CACHE_FREE, "Engine and cache", GAUGE, "hadal:kv_cache_pages_free", "pages", HD_LM,                              \
      "Pages that are kept for the next request.")                                                                     \
    X(CACHE_LIMIT, "Engine and cache", GAUGE, "hadal:kv_cache_pages_limit", "pages", HD_LM,                            \
      "Pages that there may be; nothing without a limit.")                                                             \
    X(CACHE_PAGE_BYTES, "Engine and cache", GAUGE, "hadal:kv_cache_page_bytes", "bytes", HD_LM, "Bytes of a page.")    \
    X(PREFIX_PAGES, "Engine and cache", GAUGE, "hadal:prefix_cache_pages", "pages", HD_LM,                             \
      "Pages that hold prompts and answers of the past.")                                                              \
    X(BUSY, "Engine and cache", COUNTER, "hadal:engine_busy_seconds_total", "seconds", HD_LM,                          \
      "Seconds spent in passes.")

#define HD_METRICS_OF_MODELS(X)                                                                                        \
    X(WEIGHT_BYTES, "Models", GAUGE, "hadal:model_weight_bytes", "bytes", HD_LM,                                       \
      "Bytes of the model's weights in its files.")                                                                    \
    X(PACKED_BYTES, "Models", GAUGE, "hadal:model_packed_bytes", "bytes", HD_LM,                                       \
      "Bytes of weights in the kernels' own layout, in memory.")                                                       \
    X(SCRATCH_BYTES, "Models", GAUGE, "hadal:model_scratch_bytes", "bytes", HD_LM,                                     \
      "Bytes of memory that a pass works in.")                                                                         \
    X(MODEL_PARAMETERS, "Models", GAUGE, "hadal:model_parameters", "parameters", HD_LM, "Parameters of the model.")    \
    X(MODEL_CONTEXT, "Models", GAUGE, "hadal:model_context_tokens", "tokens", HD_LM, "The longest session.")           \
    X(MODEL_THREADS, "Models", GAUGE, "hadal:model_threads", "threads", HD_LM, "Threads that compute.")                \
    X(MODEL_INFO, "Models", GAUGE, "hadal:model_info", "1", HD_LM ", architecture, cpu, precision, cache_type",        \
      "What the model is and how it is computed.")                                                                     \
    X(MODEL_LOADS, "Models", COUNTER, "hadal:model_loads_total", "loads", HD_LM, "How often it was loaded.")           \
    X(MODEL_LOAD_FAILURES, "Models", COUNTER, "hadal:model_load_failures_total", "loads", HD_LM,                       \
      "How often that failed.")                                                                                        \
    X(MODEL_LOAD_SECONDS, "Models", GAUGE, "hadal:model_load_seconds", "seconds", HD_LM,                               \
      "What the last loading took, up to the first token.")                                                            \
    X(MODEL_IDLE, "Models", GAUGE, "hadal:model_token_age_seconds", "seconds", HD_LM,                                  \
      "How long ago the model gave a token.")                                                                          \
    X(MODELS, "Models", GAUGE, "hadal:models", "models", "status", "Models that are known, by what they are.")         \
    X(LORAS, "Models", GAUGE, "hadal:lora_adapters", "adapters", "status",                                             \
      "Adapters that are known, by what they are.")                                                                    \
    X(LORA_INFO, "Models", GAUGE, "vllm:lora_requests_info", "seconds since 1970",                                     \
      "max_lora, waiting_lora_adapters, running_lora_adapters", "Adapters with requests, and when that was so.")

#define HD_METRICS_OF_THE_GATEWAY(X)                                                                                   \
    X(REPLIES, "Gateway", COUNTER, "http_requests_total", "replies", "status",                                         \
      "Replies by the class of their status.")                                                                         \
    X(ROUTES, "Gateway", COUNTER, "hadal:http_route_responses_total", "replies", "route, method, class",               \
      "Replies by route, method and class of status; paths that there are not count as other.")                        \
    X(ROUTE_SECONDS, "Gateway", HISTOGRAM, "hadal:http_request_seconds", "seconds", "route",                           \
      "From the request's first byte to the end of its reply.")                                                        \
    X(OPEN_REQUESTS, "Gateway", GAUGE, "hadal:http_requests_open", "requests", "",                                     \
      "Requests that are being answered.")                                                                             \
    X(BODY_BYTES, "Gateway", COUNTER, "hadal:http_request_body_bytes_total", "bytes", "",                              \
      "Bytes of requests' bodies.")                                                                                    \
    X(KEYS_CHECKED, "Gateway", COUNTER, "hadal:api_keys_checked_total", "keys", "", "API keys looked up.")             \
    X(REFUSALS, "Gateway", COUNTER, "hadal:requests_refused_total", "requests", "cause",                               \
      "Requests that got no answer, by what was wrong with them.")                                                     \
    X(DIALECT_REQUESTS, "Gateway", COUNTER, "hadal:dialect_requests_total", "requests", "dialect",                     \
      "Requests given to an engine, by the API that they came by.")                                                    \
    X(DIALECT_STREAMS, "Gateway", COUNTER, "hadal:dialect_streams_total", "requests", "dialect", "Of these, streams.") \
    X(DIALECT_WITH_TOOLS, "Gateway", COUNTER, "hadal:dialect_tool_requests_total", "requests", "dialect",              \
      "Of these, requests that offer tools.")                                                                          \
    X(DIALECT_TOOL_CALLS, "Gateway", COUNTER, "hadal:dialect_tool_calls_total", "calls", "dialect",                    \
      "Calls of tools in answers.")                                                                                    \
    X(DIALECT_TOKENS, "Gateway", COUNTER, "hadal:dialect_tokens_total", "tokens", "dialect, kind",                     \
      "Tokens: of prompts, of these cached ones, of answers, of these reasoning.")                                     \
    X(DIALECT_FINISHED, "Gateway", COUNTER, "hadal:dialect_answers_total", "answers", "dialect, finished_reason",      \
      "Answers that have ended, by the reason.")                                                                       \
    X(STREAMS_OPEN, "Gateway", GAUGE, "hadal:streams_open", "streams", "", "Streams that are under way.")              \
    X(DRAINING, "Gateway", GAUGE, "hadal:draining", "0 or 1", "",                                                      \
      "1: the service is shutting down and takes no new work.")                                                        \
    X(BUILD_INFO, "Gateway", GAUGE, "hadal:build_info", "1", "version", "The program.")                                \
    X(STORE_QUERIES, "Gateway", COUNTER, "hadal:store_queries_total", "queries", "",                                   \
      "Queries to the database of the data folder.")                                                                   \
    X(STORE_ERRORS, "Gateway", COUNTER, "hadal:store_errors_total", "queries", "", "Of these, queries that failed.")   \
    X(STORE_SECONDS, "Gateway", COUNTER, "hadal:store_query_seconds_total", "seconds", "", "Time spent in them.")      \
    X(LOG_LINES, "Gateway", COUNTER, "hadal:log_lines_total", "lines", "level", "Lines of the log.")                   \
    X(PAGES, "Gateway", COUNTER, "hadal:metrics_pages_total", "pages", "", "How often this page was made.")            \
    X(PAGE_SECONDS, "Gateway", GAUGE, "hadal:metrics_page_seconds", "seconds", "", "What making the last one took.")   \
    X(PAGE_BYTES, "Gateway", GAUGE, "hadal:metrics_page_bytes", "bytes", "", "How long it was.")                       \
    X(RESPONSES, "Gateway", COUNTER, "hadal:http_responses_total", "replies", "class", "The same under our own name.")

#define HD_METRICS_OF_THE_DOOR(X)                                                                                      \
    X(CONNECTIONS, "Door", GAUGE, "hadal:http_connections", "connections", "", "Connections that are open.")           \
    X(ACCEPTED, "Door", COUNTER, "hadal:http_connections_total", "connections", "", "Connections accepted.")           \
    X(REFUSED, "Door", COUNTER, "hadal:http_connections_refused_total", "connections", "",                             \
      "Connections beyond a limit.")                                                                                   \
    X(REFUSED_BY_LIMIT, "Door", COUNTER, "hadal:http_connections_refused_limit_total", "connections", "limit",         \
      "The same by the limit: of all connections, or of those from one address.")                                      \
    X(CONNECTIONS_MAX, "Door", GAUGE, "hadal:http_connections_limit", "connections", "",                               \
      "Connections that there may be.")                                                                                \
    X(HANDED_ON, "Door", COUNTER, "hadal:http_requests_received_total", "requests", "",                                \
      "Requests that came whole and well-formed.")                                                                     \
    X(BAD_STATUS, "Door", COUNTER, "hadal:http_bad_requests_status_total", "requests", "status",                       \
      "Requests refused by the parser or by a limit, by their status.")                                                \
    X(SLOW, "Door", COUNTER, "hadal:http_slow_clients_total", "clients", "stage",                                      \
      "Clients that passed a time limit, by what they were at; idle ones are no fault.")                               \
    X(BAD, "Door", COUNTER, "hadal:http_bad_requests_total", "requests", "",                                           \
      "Requests refused by the parser or for being late.")                                                             \
    X(GONE, "Door", COUNTER, "hadal:http_clients_gone_total", "clients", "",                                           \
      "Clients that left before their reply was complete.")                                                            \
    X(RECEIVED, "Door", COUNTER, "hadal:http_received_bytes_total", "bytes", "", "Bytes of HTTP received.")            \
    X(SENT, "Door", COUNTER, "hadal:http_sent_bytes_total", "bytes", "", "Bytes of HTTP sent.")                        \
    X(HANDSHAKES, "Door", COUNTER, "hadal:tls_handshakes_total", "handshakes", "", "TLS handshakes completed.")        \
    X(HANDSHAKES_FAILED, "Door", COUNTER, "hadal:tls_handshakes_failed_total", "handshakes", "",                       \
      "TLS handshakes that failed.")                                                                                   \
    X(CERTIFICATE, "Door", GAUGE, "hadal:tls_certificate_expiry_timestamp_seconds", "seconds since 1970", "",          \
      "When the certificate expires; nothing without TLS.")

#define HD_METRICS_OF_THE_PROCESS(X)                                                                                   \
    X(PROCESS_CPU, "Process", COUNTER, "process_cpu_seconds_total", "seconds", "", "Seconds of processor time.")       \
    X(PROCESS_CPU_MODE, "Process", COUNTER, "hadal:process_cpu_mode_seconds_total", "seconds", "mode",                 \
      "The same, in the program and in the kernel.")                                                                   \
    X(PROCESS_RESIDENT, "Process", GAUGE, "process_resident_memory_bytes", "bytes", "",                                \
      "Bytes of memory in use, pages of mapped files among them.")                                                     \
    X(PROCESS_VIRTUAL, "Process", GAUGE, "process_virtual_memory_bytes", "bytes", "", "Bytes of address space.")       \
    X(PROCESS_ANONYMOUS, "Process", GAUGE, "hadal:process_anonymous_memory_bytes", "bytes", "",                        \
      "Bytes of memory in use that no file backs.")                                                                    \
    X(PROCESS_PEAK, "Process", GAUGE, "hadal:process_resident_memory_peak_bytes", "bytes", "",                         \
      "The most that was ever in use.")                                                                                \
    X(PROCESS_SWAPPED, "Process", GAUGE, "hadal:process_swapped_bytes", "bytes", "", "Bytes that lie in swap.")        \
    X(PROCESS_FDS, "Process", GAUGE, "process_open_fds", "files", "", "Open files, connections among them.")           \
    X(PROCESS_MAX_FDS, "Process", GAUGE, "process_max_fds", "files", "", "How many there may be.")                     \
    X(PROCESS_START, "Process", GAUGE, "process_start_time_seconds", "seconds since 1970", "",                         \
      "When the service started.")                                                                                     \
    X(PROCESS_THREADS, "Process", GAUGE, "process_threads", "threads", "", "Threads.")                                 \
    X(PROCESS_FAULTS, "Process", COUNTER, "hadal:process_page_faults_total", "faults", "kind",                         \
      "Page faults; major ones waited for a disk.")                                                                    \
    X(PROCESS_SWITCHES, "Process", COUNTER, "hadal:process_context_switches_total", "switches", "kind",                \
      "Of the thread that serves connections: turns given up, and turns taken away.")                                  \
    X(PROCESS_IO, "Process", COUNTER, "hadal:process_io_bytes_total", "bytes", "direction",                            \
      "Bytes that came from disks and went to them.")

#define HD_METRICS_OF_THE_MACHINE(X)                                                                                   \
    X(MEMORY_USED, "Machine", GAUGE, "hadal:machine_memory_used_ratio", "ratio", "",                                   \
      "Memory in use, 0 to 1: of the machine, or of the cgroup's limit where that is smaller; what the kernel can "    \
      "take back at once counts as free.")                                                                             \
    X(CPU_USED, "Machine", GAUGE, "hadal:machine_cpu_used_ratio", "ratio", "",                                         \
      "Processor time used in the last interval, 0 to 1: of the machine, or of the cgroup's quota where that is "      \
      "smaller.")                                                                                                      \
    X(MEMORY, "Machine", GAUGE, "hadal:machine_memory_bytes", "bytes", "kind",                                         \
      "The machine's memory, by what it is used for.")                                                                 \
    X(SWAP, "Machine", GAUGE, "hadal:machine_swap_bytes", "bytes", "kind", "Swap space.")                              \
    X(CPU_SECONDS, "Machine", COUNTER, "hadal:machine_cpu_seconds_total", "seconds", "mode",                           \
      "Processor time of the machine, by what it was used for.")                                                       \
    X(CPUS, "Machine", GAUGE, "hadal:machine_cpus", "processors", "", "Processors of the machine that are on line.")   \
    X(CPU_FREQUENCY, "Machine", GAUGE, "hadal:machine_cpu_frequency_hertz", "hertz", "",                               \
      "Mean clock of the processors, where it is told.")                                                               \
    X(LOAD, "Machine", GAUGE, "hadal:machine_load_average", "tasks", "window", "Tasks that run or wait.")              \
    X(TASKS, "Machine", GAUGE, "hadal:machine_tasks", "tasks", "state",                                                \
      "Tasks of the machine that run now, and that wait for a disk.")                                                  \
    X(BOOTED, "Machine", GAUGE, "hadal:machine_boot_time_seconds", "seconds since 1970", "",                           \
      "When the machine started.")                                                                                     \
    X(SWITCHES, "Machine", COUNTER, "hadal:machine_context_switches_total", "switches", "", "Context switches.")       \
    X(INTERRUPTS, "Machine", COUNTER, "hadal:machine_interrupts_total", "interrupts", "", "Interrupts.")               \
    X(PAGING, "Machine", COUNTER, "hadal:machine_swapped_bytes_total", "bytes", "direction",                           \
      "Bytes moved to and from swap.")                                                                                 \
    X(MAJOR_FAULTS, "Machine", COUNTER, "hadal:machine_major_page_faults_total", "faults", "",                         \
      "Page faults that waited for a disk.")                                                                           \
    X(OOM_KILLS, "Machine", COUNTER, "hadal:machine_oom_kills_total", "kills", "",                                     \
      "Processes killed because memory ran out.")                                                                      \
    X(PRESSURE, "Machine", GAUGE, "hadal:machine_pressure_ratio", "ratio", "resource, kind",                           \
      "Share of the last 10 s in which some, or all, tasks waited for it (PSI).")                                      \
    X(PRESSURE_SECONDS, "Machine", COUNTER, "hadal:machine_pressure_seconds_total", "seconds", "resource, kind",       \
      "Time in which some, or all, tasks waited for it (PSI).")                                                        \
    X(TEMPERATURE, "Machine", GAUGE, "hadal:machine_temperature_celsius", "celsius", "sensor",                         \
      "What sensors tell (hwmon, thermal zones).")                                                                     \
    X(POWER, "Machine", GAUGE, "hadal:machine_power_watts", "watts", "sensor",                                         \
      "Power, from sensors or from the energy of the last interval (hwmon, RAPL).")                                    \
    X(ENERGY, "Machine", COUNTER, "hadal:machine_energy_joules_total", "joules", "sensor",                             \
      "Energy that the processors took since the service started (RAPL).")                                             \
    X(DISK_SIZE, "Machine", GAUGE, "hadal:disk_size_bytes", "bytes", "folder",                                         \
      "Size of the file system of the data folder, and of the models.")                                                \
    X(DISK_FREE, "Machine", GAUGE, "hadal:disk_free_bytes", "bytes", "folder",                                         \
      "What the service may still write there.")                                                                       \
    X(DISK_FREE_RATIO, "Machine", GAUGE, "hadal:disk_free_ratio", "ratio", "folder", "The same as a share, 0 to 1.")   \
    X(DISK_FILES, "Machine", GAUGE, "hadal:disk_files_free_ratio", "ratio", "folder",                                  \
      "Share of its files that may still be made.")                                                                    \
    X(DISK_IO, "Machine", COUNTER, "hadal:machine_disk_bytes_total", "bytes", "direction",                             \
      "Bytes read from and written to the machine's disks.")                                                           \
    X(DISK_BUSY, "Machine", COUNTER, "hadal:machine_disk_busy_seconds_total", "seconds", "",                           \
      "Time in which disks were at work, all together.")                                                               \
    X(NETWORK, "Machine", COUNTER, "hadal:machine_network_bytes_total", "bytes", "direction",                          \
      "Bytes over the network, the loopback left out.")                                                                \
    X(NETWORK_PACKETS, "Machine", COUNTER, "hadal:machine_network_packets_total", "packets", "direction",              \
      "Packets over the network.")                                                                                     \
    X(NETWORK_ERRORS, "Machine", COUNTER, "hadal:machine_network_errors_total", "packets", "direction",                \
      "Packets lost to errors or dropped.")                                                                            \
    X(TCP_RETRANSMITS, "Machine", COUNTER, "hadal:machine_tcp_retransmits_total", "segments", "",                      \
      "TCP segments sent again.")                                                                                      \
    X(SAMPLE_SECONDS, "Machine", GAUGE, "hadal:machine_sample_seconds", "seconds", "",                                 \
      "What taking these figures took the last time.")

#define HD_METRICS_OF_THE_CGROUP(X)                                                                                    \
    X(CGROUP_LIMIT, "Control group", GAUGE, "hadal:cgroup_memory_limit_bytes", "bytes", "",                            \
      "Memory that the cgroup may use; nothing without a limit.")                                                      \
    X(CGROUP_USED, "Control group", GAUGE, "hadal:cgroup_memory_used_bytes", "bytes", "",                              \
      "Memory that it uses, cached files among it.")                                                                   \
    X(CGROUP_EVENTS, "Control group", COUNTER, "hadal:cgroup_memory_events_total", "events", "event",                  \
      "How often it came to its limits.")                                                                              \
    X(CGROUP_CPU_LIMIT, "Control group", GAUGE, "hadal:cgroup_cpu_limit_cores", "processors", "",                      \
      "Processors' worth of time that it may use; nothing without a quota.")                                           \
    X(CGROUP_CPU, "Control group", COUNTER, "hadal:cgroup_cpu_seconds_total", "seconds", "",                           \
      "Processor time that it used.")                                                                                  \
    X(CGROUP_PERIODS, "Control group", COUNTER, "hadal:cgroup_cpu_periods_total", "periods", "",                       \
      "Periods of its quota.")                                                                                         \
    X(CGROUP_THROTTLED, "Control group", COUNTER, "hadal:cgroup_cpu_throttled_periods_total", "periods", "",           \
      "Periods in which it was held up.")                                                                              \
    X(CGROUP_THROTTLED_SECONDS, "Control group", COUNTER, "hadal:cgroup_cpu_throttled_seconds_total", "seconds", "",   \
      "For how long it was held up.")                                                                                  \
    X(CGROUP_TASKS, "Control group", GAUGE, "hadal:cgroup_tasks", "tasks", "", "Tasks in it.")

#define HD_METRICS_OF_WATCHING(X)                                                                                      \
    X(SPANS_EXPORTED, "Traces and supervision", COUNTER, "hadal:trace_spans_exported_total", "spans", "",              \
      "Spans that the collector took, with --otlp-endpoint.")                                                          \
    X(SPANS_DROPPED, "Traces and supervision", COUNTER, "hadal:trace_spans_dropped_total", "spans", "",                \
      "Spans lost, for the queue was full or the collector did not take them.")                                        \
    X(WORKER_CRASHES, "Traces and supervision", COUNTER, "hadal:worker_crashes_total", "crashes", "",                  \
      "Deaths of workers since the supervisor started, with --supervise.")                                             \
    X(WORKER_RESTARTS, "Traces and supervision", COUNTER, "hadal:worker_restarts_total", "restarts", "",               \
      "Workers started after the first one, for a crash or because somebody asked.")                                   \
    X(WORKER_UPTIME, "Traces and supervision", GAUGE, "hadal:worker_uptime_seconds", "seconds", "",                    \
      "How long this worker has been running.")
