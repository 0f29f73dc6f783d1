/* The driver of Vitrine, through its C interface.
 *
 * usage: vitrine LIBRARY MODEL.gguf THREADS REPACK [PACKED]     LIBRARY and REPACK are not used: the
 * library is linked, and has one layout. PACKED is where packed weights are kept. */
#define _GNU_SOURCE
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include "driver.h"
#include "vitrine.h"

#define SEQUENCES_MAX 64

static uint32_t model, sessions[SEQUENCES_MAX];
static int session_count;
static vitrine_model_info_t info;
static sem_t news;

static void must(int32_t status, uint32_t handle) {
    static char text[1024];
    uint32_t length = 0;
    if (status == VITRINE_STATUS_OK) return;
    vitrine_error_text(handle, text, sizeof text - 1, &length);
    text[length < sizeof text ? length : sizeof text - 1] = 0;
    die("vitrine", text);
}

static void woken(void) { sem_post(&news); }

void engine_open(int argc, char **argv) {
    uint32_t abi[2], slot;
    if (argc != 4 && argc != 5) die("usage", "vitrine LIBRARY MODEL.gguf THREADS REPACK [PACKED]");
    must(vitrine_abi_hash(abi), 0);
    if (abi[0] != VITRINE_ABI_HASH_LOW || abi[1] != VITRINE_ABI_HASH_HIGH) {
        die("vitrine", "the library is not the one that this program was compiled for");
    }
    sem_init(&news, 0, 0);
    must(vitrine_wake_register(woken, &slot), 0);
    const char *packed = argc == 5 ? argv[4] : "";
    const size_t size = sizeof(vitrine_load_options_t) + strlen(packed);
    vitrine_load_options_t *options = malloc(size);
    if (options == NULL) die("vitrine", "no memory for the options");
    *options = (vitrine_load_options_t){
        .size = sizeof *options,
        .version = VITRINE_VERSION,
        .threads = (uint32_t)atoi(argv[2]),
        .precision = VITRINE_PRECISION_ID_INT8,
        .packed_path_length = (uint32_t)strlen(packed),
    };
    memcpy(options + 1, packed, strlen(packed));
    must(vitrine_model_load(argv[1], (uint32_t)strlen(argv[1]), options, (uint32_t)size, &model), model);
    free(options);
    must(vitrine_model_wait(model), model);
    must(vitrine_model_info(model, &info, sizeof info), model);
    if (info.packed_state == VITRINE_PACKED_STATE_UNSAVED) {
        char note[1024] = "";
        uint32_t length = 0;
        vitrine_model_text(model, VITRINE_MODEL_TEXT_PACKED_NOTE, note, sizeof note - 1, &length);
        die("packed weights", note);
    }
}

int engine_vocabulary(void) { return (int)info.vocabulary; }

void engine_context(const struct context_options *options) {
    for (int s = 0; s < session_count; s++) must(vitrine_session_destroy(sessions[s]), sessions[s]);
    if (options->sequences > SEQUENCES_MAX) die("context", "too many sequences");
    session_count = options->sequences;
    const vitrine_session_options_t made = {
        .size = sizeof made,
        .version = VITRINE_VERSION,
        .context = (uint32_t)options->context,
        .key_format = (uint32_t)options->key,
        .value_format = (uint32_t)options->value,
        .shift_keep = -1,
    };
    for (int s = 0; s < session_count; s++) {
        must(vitrine_session_create(model, &made, sizeof made, NULL, 0, &sessions[s]), sessions[s]);
    }
}

void engine_truncate(int sequence, int length) {
    must(vitrine_session_truncate(sessions[sequence], (uint32_t)length), sessions[sequence]);
}

/* Takes what the sequences from `first` on have until all are done. Tokens of the first are written, and their times. */
static void drain(int first, int sequences, uint32_t *tokens, double *times) {
    static char records[1 << 16];
    int left = sequences, count = 0;
    unsigned char done[SEQUENCES_MAX] = {0};
    while (left > 0) {
        int taken_any = 0;
        for (int s = first; s < first + sequences; s++) {
            vitrine_take_result_t taken = {0};
            if (done[s]) continue;
            must(vitrine_session_take(sessions[s], records, sizeof records, &taken, sizeof taken), sessions[s]);
            if (taken.bytes_next > sizeof records) die("vitrine", "a record is too long");
            for (uint32_t at = 0; at < taken.bytes_taken;) {
                vitrine_step_header_t header;
                memcpy(&header, records + at, sizeof header);
                if (s == first && header.kind == VITRINE_RECORD_KIND_TOKEN) {
                    if (times) times[count] = now_ms();
                    if (tokens) tokens[count] = header.token;
                    count++;
                }
                at += header.size;
            }
            taken_any |= taken.bytes_taken > 0;
            if (taken.done && taken.bytes_taken == 0) done[s] = 1, left--;
            else if (taken.done) taken_any = 1;
        }
        if (!taken_any && left > 0) sem_wait(&news);
    }
}

static void start(int sequence, const uint32_t *tokens, int read, int count, const vitrine_stage_t *stages, int stage_count) {
    const vitrine_request_t request = {
        .size = sizeof request,
        .version = VITRINE_VERSION,
        .max_tokens = (uint32_t)count,
        .flags = VITRINE_REQUEST_FLAGS_IGNORE_END,
        .seed_low = 7,
        .stage_count = (uint32_t)stage_count,
    };
    must(vitrine_session_start(sessions[sequence], &request, sizeof request, tokens, (uint32_t)read, stages), sessions[sequence]);
}

static void succeeded(int first, int sequences) {
    for (int s = first; s < first + sequences; s++) {
        vitrine_session_info_t found = {0};
        must(vitrine_session_info(sessions[s], &found, sizeof found), sessions[s]);
        must(found.failure, sessions[s]);
    }
}

void engine_read(int sequence, const uint32_t *tokens, int count) {
    start(sequence, tokens, count, 0, NULL, 0);
    must(vitrine_session_wait(sessions[sequence]), sessions[sequence]);
    /* Records of a prefill are few; they are taken with those of what follows. */
    vitrine_take_result_t taken = {0};
    static char records[1 << 16];
    do must(vitrine_session_take(sessions[sequence], records, sizeof records, &taken, sizeof taken), sessions[sequence]);
    while (taken.bytes_taken > 0);
    vitrine_session_info_t found = {0};
    must(vitrine_session_info(sessions[sequence], &found, sizeof found), sessions[sequence]);
    must(found.failure, sessions[sequence]);
}

void engine_generate(int first, int sequences, int count, uint32_t *tokens) {
    const vitrine_stage_t greedy = {.id = VITRINE_STAGE_GREEDY};
    for (int s = first; s < first + sequences; s++) start(s, NULL, 0, count, &greedy, 1);
    drain(first, sequences, tokens, NULL);
    succeeded(first, sequences);
}

int engine_stream(const uint32_t *prompt, int prompt_count, int count, double *times) {
    const vitrine_stage_t stages[] = {
        {.id = VITRINE_STAGE_TEMPERATURE, .parameters = {0.8f}},
        {.id = VITRINE_STAGE_TOP_P, .parameters = {0.9f}},
    };
    start(0, prompt, prompt_count, count, stages, 2);
    drain(0, 1, NULL, times);
    succeeded(0, 1);
    return 1;
}

int engine_many(int sequences, const uint32_t *prompt, int prompt_count, int count, double *decoding) {
    (void)sequences, (void)prompt, (void)prompt_count, (void)count, (void)decoding;
    return 0;
}

void engine_sample(const float *logits, int vocabulary, int count) {
    const vitrine_stage_t stages[] = {
        {.id = VITRINE_STAGE_TEMPERATURE, .parameters = {0.8f}},
        {.id = VITRINE_STAGE_TOP_K, .parameters = {40}},
        {.id = VITRINE_STAGE_TOP_P, .parameters = {0.9f}},
    };
    const vitrine_request_t request = {.size = sizeof request, .version = VITRINE_VERSION, .seed_low = 7, .stage_count = 3};
    uint32_t *tokens = malloc((size_t)count * sizeof *tokens);
    if (!tokens) die("sample", "out of memory");
    must(vitrine_sampler_draw(&request, stages, logits, (uint32_t)vocabulary, tokens, (uint32_t)count), 0);
    free(tokens);
}

/* Stages are measured through TypeScript, which knows them all by the registry (bench/stage_speed.ts). */
int engine_chain(const float *logits, int vocabulary, int count, const char *chain) {
    (void)logits, (void)vocabulary, (void)count, (void)chain;
    return 0;
}

int engine_tokenize(const char *text, int length) {
    uint32_t count = (uint32_t)length + 8;
    uint32_t *tokens = malloc(count * sizeof *tokens);
    if (!tokens) die("tokenize", "out of memory");
    must(vitrine_model_tokenize(model, text, (uint32_t)length, 0, tokens, &count), model);
    free(tokens);
    return (int)count;
}
