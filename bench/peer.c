/* The peer of the benchmark: llama.cpp v0.5.0, as its prebuilt npm package brings it.
 *
 * usage: peer LIBRARY_FOLDER MODEL.gguf THREADS CONTEXT
 *
 * Commands come one a line on stdin, answers go one a line to stdout:
 *   prefill N   empties the cache and reads N tokens (the same ids as Vitrine reads); answers ms
 *   decode N    generates N tokens greedily behind the last prefill; answers ms and a hash of the ids
 * The structures below follow include/llama.h of that version; another version needs them checked.
 * The defaults of the library are kept, but for the threads and the size of the context. */

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct model_params {
    void *devices, *overrides;
    int32_t n_gpu_layers, split_mode, load_mode, lazy_mode, main_gpu;
    void *tensor_split, *progress, *progress_data, *kv_overrides;
    bool vocab_only, check_tensors, use_extra_bufts, no_host, no_alloc, load_mtp;
};

struct context_params {
    uint32_t n_ctx, n_batch, n_ubatch, n_seq_max, n_rs_seq, n_outputs_max, n_outputs_max_per_seq;
    int32_t n_threads, n_threads_batch, ctx_type, rope_scaling, pooling, attention, flash_attention;
    float rope_base, rope_scale, yarn_ext, yarn_attn, yarn_fast, yarn_slow;
    uint32_t yarn_orig_ctx;
    float defrag;
    void *cb_eval, *cb_eval_data;
    int32_t type_k, type_v;
    void *abort_callback, *abort_data;
    bool embeddings, offload_kqv, no_perf, op_offload, swa_full, kv_unified;
    void *samplers;
    size_t n_samplers;
    void *ctx_other;
};

struct batch {
    int32_t n_tokens;
    int32_t *token;
    float *embd;
    int32_t *pos, *n_seq_id, **seq_id;
    int8_t *logits;
};

static struct {
    void (*log_set)(void *, void *);
    void (*base_log_set)(void *, void *);
    void (*load_all)(const char *);
    void (*backend_init)(void);
    struct model_params (*model_params)(void);
    struct context_params (*context_params)(void);
    void *(*model_load)(const char *, struct model_params);
    void *(*context_new)(void *, struct context_params);
    void *(*memory)(void *);
    void (*memory_clear)(void *, bool);
    void *(*vocab)(void *);
    int32_t (*vocab_size)(void *);
    struct batch (*batch_one)(int32_t *, int32_t);
    int32_t (*decode)(void *, struct batch);
    void (*synchronize)(void *);
    float *(*logits)(void *, int32_t);
} api;

static void die(const char *what, const char *detail) {
    fprintf(stderr, "peer: %s: %s\n", what, detail ? detail : "");
    exit(1);
}

static void *open_library(const char *folder, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!library) die("cannot load", dlerror());
    return library;
}

static void *symbol(void *library, const char *name) {
    void *address = dlsym(library, name);
    if (!address) die("no such function", name);
    return address;
}

static void silence(int level, const char *text, void *data) { (void)level, (void)text, (void)data; }

static void open_api(const char *folder) {
    void *base = open_library(folder, "libggml-base.so");
    void *ggml = open_library(folder, "libggml.v0.5.0.so");
    void *llama = open_library(folder, "libllama.v0.5.0.so");
    api.base_log_set = symbol(base, "ggml_log_set");
    api.load_all = symbol(ggml, "ggml_backend_load_all_from_path");
    api.log_set = symbol(llama, "llama_log_set");
    api.backend_init = symbol(llama, "llama_backend_init");
    api.model_params = symbol(llama, "llama_model_default_params");
    api.context_params = symbol(llama, "llama_context_default_params");
    api.model_load = symbol(llama, "llama_model_load_from_file");
    api.context_new = symbol(llama, "llama_init_from_model");
    api.memory = symbol(llama, "llama_get_memory");
    api.memory_clear = symbol(llama, "llama_memory_clear");
    api.vocab = symbol(llama, "llama_model_get_vocab");
    api.vocab_size = symbol(llama, "llama_vocab_n_tokens");
    api.batch_one = symbol(llama, "llama_batch_get_one");
    api.decode = symbol(llama, "llama_decode");
    api.synchronize = symbol(llama, "llama_synchronize");
    api.logits = symbol(llama, "llama_get_logits_ith");
}

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* The lowest id wins a tie, as in Vitrine's greedy stage. */
static int32_t best_token(const float *logits, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static void feed(void *context, int32_t *tokens, int32_t n) {
    if (api.decode(context, api.batch_one(tokens, n)) != 0) die("llama_decode", "failed");
}

int main(int argc, char **argv) {
    if (argc != 5) die("usage", "peer LIBRARY_FOLDER MODEL.gguf THREADS CONTEXT");
    open_api(argv[1]);
    api.base_log_set((void *)silence, NULL);
    api.log_set((void *)silence, NULL);
    api.load_all(argv[1]);
    api.backend_init();

    void *model = api.model_load(argv[2], api.model_params());
    if (!model) die("cannot load", argv[2]);
    int32_t n_vocab = api.vocab_size(api.vocab(model));
    struct context_params params = api.context_params();
    params.n_ctx = (uint32_t)atoi(argv[4]);
    params.n_threads = params.n_threads_batch = atoi(argv[3]);
    void *context = api.context_new(model, params);
    if (!context) die("cannot make a context for", argv[2]);
    int32_t *tokens = malloc(sizeof *tokens * params.n_ctx);
    if (!tokens) die("out of memory", NULL);
    printf("ready\n");
    fflush(stdout);

    char command[16];
    int n;
    while (scanf("%15s %d", command, &n) == 2) {
        double begun = now_ms();
        uint32_t hash = 2166136261u;
        if (strcmp(command, "prefill") == 0) {
            api.memory_clear(api.memory(context), true);
            for (int i = 0; i < n; i++) tokens[i] = (int32_t)((1000u + 37u * (uint32_t)i) % (uint32_t)n_vocab);
            begun = now_ms();
            /* A batch holds 2048 tokens by default. */
            for (int at = 0; at < n; at += 2048) feed(context, tokens + at, n - at < 2048 ? n - at : 2048);
            api.synchronize(context);
        } else if (strcmp(command, "decode") == 0) {
            for (int i = 0; i < n; i++) {
                int32_t token = best_token(api.logits(context, -1), n_vocab);
                hash = (hash ^ (uint32_t)token) * 16777619u;
                feed(context, &token, 1);
            }
            api.synchronize(context);
        } else {
            die("no such command", command);
        }
        printf("%.6f %u\n", now_ms() - begun, hash);
        fflush(stdout);
    }
    return 0;
}
