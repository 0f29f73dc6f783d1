/**
 * Why a generation ended: `"length"` (as many tokens as asked for), `"end"` (the model ended its
 * text), `"stop"` (a stop string was found), `"aborted"` (by the signal, or because the loop was
 * left), `"context"` (the context is full).
 */
export type StopReason = "length" | "end" | "stop" | "aborted" | "context";
