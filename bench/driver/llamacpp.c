/* The driver of llama.cpp v0.5.0, as its prebuilt npm package brings it, or as llama-cpp-python
 * 0.3.36 builds it.
 *
 * usage: llamacpp LIBRARY_FOLDER MODEL.gguf THREADS REPACK
 *
 * The structures below follow include/llama.h of that version; another version needs them checked.
 * The defaults of the library are kept, but for what the command line and `context` say. */

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "driver.h"

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

struct candidate {
    int32_t id;
    float logit, p;
};

struct candidates {
    struct candidate *data;
    size_t size;
    int64_t selected;
    bool sorted;
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
    void (*context_free)(void *);
    void *(*memory)(void *);
    bool (*memory_remove)(void *, int32_t, int32_t, int32_t);
    void (*memory_copy)(void *, int32_t, int32_t, int32_t, int32_t);
    void *(*vocab)(void *);
    int32_t (*vocab_size)(void *);
    int32_t (*decode)(void *, struct batch);
    void (*synchronize)(void *);
    float *(*logits)(void *, int32_t);
    int32_t (*tokenize)(void *, const char *, int32_t, int32_t *, int32_t, bool, bool);
    void *(*chain_new)(bool);
    void (*chain_add)(void *, void *);
    void *(*temperature)(float);
    void *(*top_k)(int32_t);
    void *(*top_p)(float, size_t);
    void *(*draw)(uint32_t);
    void (*apply)(void *, struct candidates *);
    void (*accept)(void *, int32_t);
    void *library;
    void (*sampler_free)(void *);
} api;

static void *model, *context;
static int threads, sequences, vocabulary;
static int position[64], last_row[64];

/* The packages name the same library differently. */
static void *open_library(const char *folder, const char *name) {
    static const char *const endings[] = {".v0.5.0.so", ".so"};
    for (int i = 0; i < 2; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s%s", folder, name, endings[i]);
        void *library = access(path, R_OK) == 0 ? dlopen(path, RTLD_NOW | RTLD_GLOBAL) : NULL;
        if (library) return library;
        if (access(path, R_OK) == 0) die("cannot load", dlerror());
    }
    die("no such library", name);
}

static void *symbol(void *library, const char *name) {
    void *address = dlsym(library, name);
    if (!address) die("no such function", name);
    return address;
}

static void silence(int level, const char *text, void *data) { (void)level, (void)text, (void)data; }

static void open_api(const char *folder) {
    void *base = open_library(folder, "libggml-base");
    void *ggml = open_library(folder, "libggml");
    void *llama = open_library(folder, "libllama");
    api.base_log_set = symbol(base, "ggml_log_set");
    api.load_all = symbol(ggml, "ggml_backend_load_all_from_path");
    api.log_set = symbol(llama, "llama_log_set");
    api.backend_init = symbol(llama, "llama_backend_init");
    api.model_params = symbol(llama, "llama_model_default_params");
    api.context_params = symbol(llama, "llama_context_default_params");
    api.model_load = symbol(llama, "llama_model_load_from_file");
    api.context_new = symbol(llama, "llama_init_from_model");
    api.context_free = symbol(llama, "llama_free");
    api.memory = symbol(llama, "llama_get_memory");
    api.memory_remove = symbol(llama, "llama_memory_seq_rm");
    api.memory_copy = symbol(llama, "llama_memory_seq_cp");
    api.vocab = symbol(llama, "llama_model_get_vocab");
    api.vocab_size = symbol(llama, "llama_vocab_n_tokens");
    api.decode = symbol(llama, "llama_decode");
    api.synchronize = symbol(llama, "llama_synchronize");
    api.logits = symbol(llama, "llama_get_logits_ith");
    api.tokenize = symbol(llama, "llama_tokenize");
    api.chain_new = symbol(llama, "llama_sampler_chain_init");
    api.chain_add = symbol(llama, "llama_sampler_chain_add");
    api.temperature = symbol(llama, "llama_sampler_init_temp");
    api.top_k = symbol(llama, "llama_sampler_init_top_k");
    api.top_p = symbol(llama, "llama_sampler_init_top_p");
    api.draw = symbol(llama, "llama_sampler_init_dist");
    api.apply = symbol(llama, "llama_sampler_apply");
    api.accept = symbol(llama, "llama_sampler_accept");
    api.sampler_free = symbol(llama, "llama_sampler_free");
    api.library = llama;
}

void engine_open(int argc, char **argv) {
    if (argc != 4) die("usage", "llamacpp LIBRARY_FOLDER MODEL.gguf THREADS REPACK");
    open_api(argv[0]);
    api.base_log_set((void *)silence, NULL);
    api.log_set((void *)silence, NULL);
    api.load_all(argv[0]);
    api.backend_init();
    threads = atoi(argv[2]);
    struct model_params params = api.model_params();
    params.use_extra_bufts = atoi(argv[3]) != 0;
    model = api.model_load(argv[1], params);
    if (!model) die("cannot load", argv[1]);
    vocabulary = api.vocab_size(api.vocab(model));
}

int engine_vocabulary(void) { return vocabulary; }

void engine_context(const struct context_options *options) {
    if (context) api.context_free(context);
    sequences = options->sequences;
    if (sequences > 64) die("context", "too many sequences");
    struct context_params params = api.context_params();
    /* The context is shared out evenly among the sequences. */
    params.n_ctx = (uint32_t)(options->context * sequences);
    params.n_seq_max = (uint32_t)sequences;
    params.n_threads = params.n_threads_batch = threads;
    params.type_k = options->key;
    params.type_v = options->value;
    params.flash_attention = options->flash;
    context = api.context_new(model, params);
    if (!context) die("llama.cpp", "cannot make such a context");
    for (int s = 0; s < sequences; s++) position[s] = 0;
}

void engine_truncate(int sequence, int length) {
    if (!api.memory_remove(api.memory(context), sequence, length, -1)) die("llama_memory_seq_rm", "failed");
    position[sequence] = length;
}

/* Decodes `count` tokens: those of one sequence, or one token of each of so many sequences from it on. */
static void feed(int32_t *tokens, int count, int first_sequence, bool one_each, bool wanted) {
    static int32_t at[2048], counts[2048], ids[2048], *pointers[2048];
    static int8_t logits[2048];
    for (int i = 0; i < count; i++) {
        int sequence = one_each ? first_sequence + i : first_sequence;
        ids[i] = sequence;
        pointers[i] = &ids[i];
        counts[i] = 1;
        at[i] = position[sequence]++;
        logits[i] = one_each || (wanted && i == count - 1);
        if (logits[i]) last_row[sequence] = i;
    }
    struct batch batch = {count, tokens, NULL, at, counts, pointers, logits};
    if (api.decode(context, batch) != 0) die("llama_decode", "failed");
}

/* Logits stay where they are until the next decode only, so that each sequence's next token is
 * chosen at once. The lowest id wins a tie, as in Vitrine's greedy stage. */
static int32_t next_token[64];

static void choose(int sequence) {
    const float *logits = api.logits(context, last_row[sequence]);
    int32_t best = 0;
    for (int32_t i = 1; i < vocabulary; i++)
        if (logits[i] > logits[best]) best = i;
    next_token[sequence] = best;
}

void engine_read(int sequence, const uint32_t *tokens, int count) {
    /* A batch holds 2048 tokens by default. */
    for (int at = 0; at < count; at += 2048) {
        int n = count - at < 2048 ? count - at : 2048;
        feed((int32_t *)tokens + at, n, sequence, false, at + n == count);
    }
    api.synchronize(context);
    choose(sequence);
}

void engine_generate(int first, int count_sequences, int count, uint32_t *tokens) {
    static int32_t batch[64];
    for (int i = 0; i < count; i++) {
        for (int s = 0; s < count_sequences; s++) batch[s] = next_token[first + s];
        tokens[i] = (uint32_t)batch[0];
        feed(batch, count_sequences, first, true, true);
        for (int s = 0; s < count_sequences; s++) choose(first + s);
    }
    api.synchronize(context);
}

int engine_stream(const uint32_t *prompt, int prompt_count, int count, double *times) {
    (void)prompt, (void)prompt_count, (void)count, (void)times;
    return 0;
}

/* Top-k comes first in what llama.cpp calls its default order, and is faster there; a temperature before it
 * changes nothing of what it keeps, so that both engines draw from the same distribution. */
static void *fast_chain(uint32_t seed) {
    void *chain = api.chain_new(true);
    api.chain_add(chain, api.top_k(40));
    api.chain_add(chain, api.temperature(0.8f));
    api.chain_add(chain, api.top_p(0.9f, 1));
    api.chain_add(chain, api.draw(seed));
    return chain;
}

int engine_many(int count_sequences, const uint32_t *prompt, int prompt_count, int count, double *decoding) {
    static int32_t batch[64];
    void *chains[64];
    struct candidate *data = malloc(sizeof *data * (size_t)vocabulary);
    if (!data) die("many", "out of memory");
    engine_read(0, prompt, prompt_count);
    for (int s = 0; s < count_sequences; s++) {
        chains[s] = fast_chain((uint32_t)s + 1);
        last_row[s] = last_row[0];
        position[s] = prompt_count;
        if (s > 0) api.memory_copy(api.memory(context), 0, s, -1, -1);
    }
    *decoding = 0;
    for (int i = 0; i < count; i++) {
        for (int s = 0; s < count_sequences; s++) {
            const float *logits = api.logits(context, last_row[s]);
            for (int v = 0; v < vocabulary; v++) data[v] = (struct candidate){v, logits[v], 0};
            struct candidates set = {data, (size_t)vocabulary, -1, false};
            api.apply(chains[s], &set);
            if (set.selected < 0) die("many", "nothing was selected");
            batch[s] = data[set.selected].id;
        }
        /* The last ones need not be evaluated. */
        if (i + 1 == count) break;
        double begun = now_ms();
        feed(batch, count_sequences, 0, true, true);
        api.synchronize(context);
        *decoding += now_ms() - begun;
    }
    for (int s = 0; s < count_sequences; s++) api.sampler_free(chains[s]);
    free(data);
    return 1;
}

/* Draws, and lets the chain see what was drawn where it has a memory. */
static void draw_all(void *chain, const float *logits, int candidates, int count, bool accepts) {
    struct candidate *data = malloc(sizeof *data * (size_t)candidates);
    if (!data) die("sample", "out of memory");
    for (int n = 0; n < count; n++) {
        for (int i = 0; i < candidates; i++) data[i] = (struct candidate){i, logits[i], 0};
        struct candidates set = {data, (size_t)candidates, -1, false};
        api.apply(chain, &set);
        if (set.selected < 0) die("sample", "nothing was selected");
        if (accepts) api.accept(chain, set.data[set.selected].id);
    }
    api.sampler_free(chain);
    free(data);
}

void engine_sample(const float *logits, int candidates, int count) {
    void *chain = api.chain_new(true);
    api.chain_add(chain, api.temperature(0.8f));
    api.chain_add(chain, api.top_k(40));
    api.chain_add(chain, api.top_p(0.9f, 1));
    api.chain_add(chain, api.draw(7));
    draw_all(chain, logits, candidates, count, false);
}

/* One stage with its values, by the names of llama.h. */
static void *stage_of(const char *name, const float *v, int candidates) {
    char full[64];
    snprintf(full, sizeof full, "llama_sampler_init_%s", name);
    void *init = symbol(api.library, full);
    if (!strcmp(name, "greedy")) return ((void *(*)(void))init)();
    if (!strcmp(name, "top_k")) return ((void *(*)(int32_t))init)((int32_t)v[0]);
    if (!strcmp(name, "temp") || !strcmp(name, "top_n_sigma")) return ((void *(*)(float))init)(v[0]);
    if (!strcmp(name, "top_p") || !strcmp(name, "min_p") || !strcmp(name, "typical"))
        return ((void *(*)(float, size_t))init)(v[0], 1);
    if (!strcmp(name, "temp_ext")) return ((void *(*)(float, float, float))init)(v[0], v[1], v[2]);
    if (!strcmp(name, "xtc")) return ((void *(*)(float, float, size_t, uint32_t))init)(v[0], v[1], 1, 7);
    if (!strcmp(name, "mirostat"))
        return ((void *(*)(int32_t, uint32_t, float, float, int32_t))init)(candidates, 7, v[0], v[1], (int32_t)v[2]);
    if (!strcmp(name, "mirostat_v2")) return ((void *(*)(uint32_t, float, float))init)(7, v[0], v[1]);
    if (!strcmp(name, "adaptive_p")) return ((void *(*)(float, float, uint32_t))init)(v[0], v[1], 7);
    if (!strcmp(name, "penalties"))
        return ((void *(*)(int32_t, float, float, float))init)((int32_t)v[0], v[1], v[2], v[3]);
    if (!strcmp(name, "dry")) {
        /* Without breakers, as ours is measured. */
        return ((void *(*)(void *, int32_t, float, float, int32_t, int32_t, const char **, size_t))init)(
            api.vocab(model), 4096, v[0], v[1], (int32_t)v[2], (int32_t)v[3], NULL, 0);
    }
    die("chain: no stage is called", name);
}

/* Whether a stage draws by itself. */
static bool selects(const char *name) {
    return !strcmp(name, "greedy") || !strncmp(name, "mirostat", 8) || !strcmp(name, "adaptive_p");
}

int engine_chain(const float *logits, int candidates, int count, const char *text) {
    void *chain = api.chain_new(true);
    char copy[4096], *rest = copy;
    bool selected = false;
    snprintf(copy, sizeof copy, "%s", strcmp(text, "none") ? text : "");
    for (char *word; (word = strsep(&rest, ",")) != NULL;) {
        if (!*word) continue;
        float values[6] = {0};
        char *name = strsep(&word, ":"), *value;
        for (int i = 0; i < 6 && (value = strsep(&word, ":")) != NULL; i++) values[i] = strtof(value, NULL);
        api.chain_add(chain, stage_of(name, values, candidates));
        selected |= selects(name);
    }
    if (!selected) api.chain_add(chain, api.draw(7));
    draw_all(chain, logits, candidates, count, true);
    return 1;
}

int engine_tokenize(const char *text, int length) {
    int32_t *tokens = malloc(sizeof *tokens * ((size_t)length + 8));
    if (!tokens) die("tokenize", "out of memory");
    int count = api.tokenize(api.vocab(model), text, length, tokens, length + 8, false, false);
    free(tokens);
    return count;
}
