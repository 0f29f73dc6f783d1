/* The same as hello_bun.ts, in C against include/vitrine.h.
 *
 *   zig cc examples/hello.c -Iinclude -Lzig-out/lib -lvitrine -Wl,-rpath,zig-out/lib -o hello
 *   ./hello MODEL.gguf "The future of AI is" 32
 *
 * Every call returns a status. Work is started, and its records are taken as they come; a program
 * with an event loop would register a wake-up instead of sleeping (vitrine_wake_register). */

#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "vitrine.h"

static void must(int32_t status, uint32_t handle) {
    char text[1024];
    uint32_t length = 0;
    if (status == VITRINE_STATUS_OK) return;
    vitrine_error_text(handle, text, sizeof text, &length);
    fprintf(stderr, "error %d: %.*s\n", status, (int)length, text);
    exit(1);
}

/* Prints the text of the records in the buffer, which are padded to whole words. */
static void print_records(const char *bytes, uint32_t length) {
    for (uint32_t at = 0; at < length;) {
        vitrine_step_header_t header;
        memcpy(&header, bytes + at, sizeof header);
        const char *text = bytes + at + sizeof header + header.top_len * sizeof(vitrine_token_logprob_t);
        if (header.kind == VITRINE_RECORD_KIND_TOKEN) fwrite(text, 1, header.text_len, stdout);
        at += header.size;
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: hello MODEL.gguf PROMPT TOKENS\n");
        return 2;
    }
    uint32_t abi[2], model = 0, session = 0;
    must(vitrine_abi_hash(abi), 0);
    if (abi[0] != VITRINE_ABI_HASH_LOW || abi[1] != VITRINE_ABI_HASH_HIGH) {
        fprintf(stderr, "the library is not the one that the header is of\n");
        return 1;
    }
    must(vitrine_model_load(argv[1], (uint32_t)strlen(argv[1]), NULL, 0, &model), model);
    must(vitrine_model_wait(model), model);
    must(vitrine_session_create(model, NULL, 0, NULL, 0, &session), session);

    uint32_t tokens[4096], count = 4096;
    const uint32_t flags = VITRINE_TOKENIZE_FLAGS_ADD_SPECIAL | VITRINE_TOKENIZE_FLAGS_PARSE_SPECIAL;
    must(vitrine_model_tokenize(model, argv[2], (uint32_t)strlen(argv[2]), flags, tokens, &count), model);

    const vitrine_stage_t stages[] = {
        {.id = VITRINE_STAGE_TEMPERATURE, .parameters = {0.8f}},
        {.id = VITRINE_STAGE_TOP_P, .parameters = {0.9f}},
    };
    const vitrine_request_t request = {
        .size = sizeof request,
        .version = VITRINE_VERSION,
        .max_tokens = (uint32_t)atoi(argv[3]),
        .seed_low = 7,
        .stage_count = 2,
    };
    must(vitrine_session_start(session, &request, sizeof request, tokens, count, stages), session);

    static char records[65536];
    vitrine_take_result_t taken = {0};
    while (!taken.done || taken.bytes_taken > 0) {
        must(vitrine_session_take(session, records, sizeof records, &taken, sizeof taken), session);
        print_records(records, taken.bytes_taken);
        if (taken.bytes_taken == 0 && !taken.done) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    putchar('\n');
    must(vitrine_session_destroy(session), session);
    must(vitrine_model_destroy(model), model);
    return 0;
}
