/* A driver makes one engine do what the benchmark measures. `main.c` reads commands, keeps the time
 * and answers; `vitrine.c` and `llamacpp.c` are the engines. Each is a program of its own, so that
 * its memory and its threads are its own. */
#ifndef DRIVER_H
#define DRIVER_H

#include <stdint.h>

/* What a context is made with. Formats are GGUF type numbers. */
struct context_options {
    int context;   /* tokens of each sequence */
    int sequences;
    int key, value;
    int flash;     /* flash attention, where that is a choice: 0 off, 1 on */
};

/* Ends the program with a text. */
_Noreturn void die(const char *what, const char *detail);
double now_ms(void);

/* Loads the model of a command line without its first two words: the library (or its folder), the
 * model, threads, and 1 to let weights be repacked where that is a choice. */
void engine_open(int argc, char **argv);
int engine_vocabulary(void);
/* Replaces the context. */
void engine_context(const struct context_options *options);
/* Forgets the tokens of a sequence from `length` on. */
void engine_truncate(int sequence, int length);
/* Reads tokens behind those of a sequence. */
void engine_read(int sequence, const uint32_t *tokens, int count);
/* Generates `count` tokens behind each of `sequences` from `first` on, all of them at once, greedily.
 * Writes the tokens of the first of them. */
void engine_generate(int first, int sequences, int count, uint32_t *tokens);
/* Generates one token after another with temperature 0.8 and top-p 0.9; writes when each came.
 * Returns 0 where the engine has no such loop. */
int engine_stream(const uint32_t *prompt, int prompt_count, int count, double *times);
/* Reads a prompt once and continues it in each of the sequences with `count` tokens, drawn with temperature
 * 0.8, top-k 40 and top-p 0.9, all of them at once; writes the time that decoding alone took. Returns 0
 * where the engine has no such loop. */
int engine_many(int sequences, const uint32_t *prompt, int prompt_count, int count, double *decoding);
/* Draws `count` tokens from logits with temperature 0.8, top-k 40 and top-p 0.9. */
void engine_sample(const float *logits, int vocabulary, int count);
/* Draws `count` tokens from logits with a chain in the engine's own words, `name:value:value,name`, each
 * becoming part of the text that later ones see. Returns 0 where the engine is not measured so. */
int engine_chain(const float *logits, int vocabulary, int count, const char *chain);
/* Counts the tokens of a text. */
int engine_tokenize(const char *text, int length);

#endif
