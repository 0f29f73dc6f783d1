/* Reads commands, one a line, and answers each with numbers on one line; the first answer, `ready`
 * and the milliseconds that loading took, comes by itself. Times are milliseconds.
 *
 *   context N S K V F   a new context: N tokens in each of S sequences, formats of keys and values,
 *                       flash attention; answers 0
 *   prefill N           empties the first sequence and reads N tokens into it; answers the time
 *   decode N S          generates N tokens behind those of sequence S, the first if it is left out; answers
 *                       the time and a hash of the tokens
 *   truncate N S        forgets what comes after N tokens of a prefill of sequence S, and reads the last of
 *                       them again, so that the next token can be chosen; answers 0
 *   chat T P N          T turns of reading P tokens and generating N; answers the time and the hash
 *   batch S P N         reads P tokens into each of S sequences, then generates N behind each, all at
 *                       once; answers the time of the latter and the hash
 *   many S P N          reads P tokens once and draws N behind them in each of S sequences, all at once;
 *                       answers the time of all, and of decoding without prompt and draws
 *   stream P N          reads P tokens and draws N; answers the time to the first token, to the last
 *                       one, and the median and the 99th percentile between two
 *   sample V N          draws N tokens from V candidates; answers the time
 *   chain V N CHAIN     the same with a chain of stages; answers the time
 *   tokenize N PATH     the tokens of the first N bytes of a file; answers the time and their number
 *   memory              answers resident bytes, now and at most
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "driver.h"

static uint32_t tokens[1 << 17];
static double times[1 << 16];
static int sequences = 1;

void die(const char *what, const char *detail) {
    fprintf(stderr, "%s: %s\n", what, detail ? detail : "");
    exit(1);
}

double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* The same ids for every engine; sequences differ, so that none can share another's prompt. */
static const uint32_t *prompt(int count, int sequence) {
    uint32_t vocabulary = (uint32_t)engine_vocabulary();
    if (count > (int)(sizeof tokens / sizeof *tokens)) die("prefill", "too many tokens");
    for (int i = 0; i < count; i++) tokens[i] = (1000u + 37u * (uint32_t)i + 7919u * (uint32_t)sequence) % vocabulary;
    return tokens;
}

/* FNV-1a over ids. */
static uint32_t hash_of(uint32_t hash, const uint32_t *ids, int count) {
    for (int i = 0; i < count; i++) hash = (hash ^ ids[i]) * 16777619u;
    return hash;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void stream(int prompt_count, int count) {
    if (count < 2 || count > (int)(sizeof times / sizeof *times)) die("stream", "expected 2 to 65536 tokens");
    engine_truncate(0, 0);
    const uint32_t *ids = prompt(prompt_count, 0);
    double begun = now_ms();
    if (!engine_stream(ids, prompt_count, count, times)) die("stream", "this engine has no such loop");
    double first = times[0] - begun, all = times[count - 1] - begun;
    for (int i = 0; i + 1 < count; i++) times[i] = times[i + 1] - times[i];
    qsort(times, (size_t)count - 1, sizeof *times, by_size);
    printf("%.6f %.6f %.6f %.6f\n", first, all, times[(count - 1) / 2], times[(count - 1) * 99 / 100]);
}

static void batch(int count_sequences, int prompt_count, int count) {
    for (int s = 0; s < count_sequences; s++) {
        engine_truncate(s, 0);
        engine_read(s, prompt(prompt_count, s), prompt_count);
    }
    double begun = now_ms();
    engine_generate(0, count_sequences, count, tokens);
    printf("%.6f %u\n", now_ms() - begun, hash_of(2166136261u, tokens, count));
}

static void many(int count_sequences, int prompt_count, int count) {
    double decoding = 0;
    for (int s = 0; s < count_sequences; s++) engine_truncate(s, 0);
    const uint32_t *ids = prompt(prompt_count, 0);
    double begun = now_ms();
    if (!engine_many(count_sequences, ids, prompt_count, count, &decoding)) die("many", "this engine has no such loop");
    printf("%.6f %.6f\n", now_ms() - begun, decoding);
}

static void chat(int turns, int prompt_count, int count) {
    uint32_t hash = 2166136261u;
    engine_truncate(0, 0);
    double begun = now_ms();
    for (int turn = 0; turn < turns; turn++) {
        engine_read(0, prompt(prompt_count, turn), prompt_count);
        engine_generate(0, 1, count, tokens);
        hash = hash_of(hash, tokens, count);
    }
    printf("%.6f %u\n", now_ms() - begun, hash);
}

static void tokenize(int length, const char *path) {
    FILE *file = fopen(path, "rb");
    char *text = malloc((size_t)length);
    if (!file || !text || fread(text, 1, (size_t)length, file) != (size_t)length) die("cannot read", path);
    fclose(file);
    double begun = now_ms();
    int count = engine_tokenize(text, length);
    printf("%.6f %d\n", now_ms() - begun, count);
    free(text);
}

/* Resident bytes as the system counts them. */
static void memory(void) {
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    double now = 0, most = 0;
    if (!status) die("memory", "/proc/self/status can't be read");
    while (fgets(line, sizeof line, status)) {
        sscanf(line, "VmRSS: %lf", &now);
        sscanf(line, "VmHWM: %lf", &most);
    }
    fclose(status);
    printf("%.0f %.0f\n", now * 1024, most * 1024);
}

/* Logits about as a model has them: nearly normal, with a deviation of 3. */
static float *made_logits(int vocabulary) {
    float *logits = malloc(sizeof *logits * (size_t)vocabulary);
    uint32_t state = 1;
    if (!logits) die("sample", "out of memory");
    for (int i = 0; i < vocabulary; i++) {
        float sum = 0;
        for (int j = 0; j < 4; j++) {
            state ^= state << 13, state ^= state >> 17, state ^= state << 5;
            sum += (float)state / 2147483648.0f - 1;
        }
        logits[i] = 2.6f * sum;
    }
    return logits;
}

static void sample(int vocabulary, int count) {
    float *logits = made_logits(vocabulary);
    double begun = now_ms();
    engine_sample(logits, vocabulary, count);
    printf("%.6f\n", now_ms() - begun);
    free(logits);
}

static void chain(int vocabulary, int count, const char *stages) {
    float *logits = made_logits(vocabulary);
    double begun = now_ms();
    if (!engine_chain(logits, vocabulary, count, stages)) die("chain", "this engine is not measured so");
    printf("%.6f\n", now_ms() - begun);
    free(logits);
}

static void run(const char *command, const int *n, const char *path) {
    if (strcmp(command, "context") == 0) {
        struct context_options options = {n[0], n[1], n[2], n[3], n[4]};
        engine_context(&options);
        sequences = n[1];
        printf("0\n");
    } else if (strcmp(command, "prefill") == 0) {
        engine_truncate(0, 0);
        const uint32_t *ids = prompt(n[0], 0);
        double begun = now_ms();
        engine_read(0, ids, n[0]);
        printf("%.6f\n", now_ms() - begun);
    } else if (strcmp(command, "decode") == 0) {
        if (n[1] >= sequences) die("decode", "the context has fewer sequences");
        double begun = now_ms();
        engine_generate(n[1], 1, n[0], tokens);
        printf("%.6f %u\n", now_ms() - begun, hash_of(2166136261u, tokens, n[0]));
    } else if (strcmp(command, "truncate") == 0) {
        if (n[1] >= sequences) die("truncate", "the context has fewer sequences");
        engine_truncate(n[1], n[0] - 1);
        engine_read(n[1], prompt(n[0], n[1]) + n[0] - 1, 1);
        printf("0\n");
    } else if (strcmp(command, "chat") == 0) {
        chat(n[0], n[1], n[2]);
    } else if (strcmp(command, "batch") == 0) {
        if (n[0] > sequences) die("batch", "the context has fewer sequences");
        batch(n[0], n[1], n[2]);
    } else if (strcmp(command, "many") == 0) {
        if (n[0] > sequences) die("many", "the context has fewer sequences");
        many(n[0], n[1], n[2]);
    } else if (strcmp(command, "stream") == 0) {
        stream(n[0], n[1]);
    } else if (strcmp(command, "sample") == 0) {
        sample(n[0], n[1]);
    } else if (strcmp(command, "chain") == 0) {
        chain(n[0], n[1], path);
    } else if (strcmp(command, "tokenize") == 0) {
        tokenize(n[0], path);
    } else if (strcmp(command, "memory") == 0) {
        memory();
    } else {
        die("no such command", command);
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    double begun = now_ms();
    engine_open(argc - 1, argv + 1);
    printf("ready %.6f\n", now_ms() - begun);
    fflush(stdout);
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        char command[16] = "", path[4000] = "";
        int n[5] = {0};
        if (sscanf(line, "%15s", command) != 1) continue;
        if (strcmp(command, "tokenize") == 0) sscanf(line, "%*s %d %3999[^\n]", n, path);
        else if (strcmp(command, "chain") == 0) sscanf(line, "%*s %d %d %3999s", n, n + 1, path);
        else sscanf(line, "%*s %d %d %d %d %d", n, n + 1, n + 2, n + 3, n + 4);
        run(command, n, path);
    }
    return 0;
}
