import { EngineError } from "./engine_error.ts";
import { openLibrary, statusError } from "./ffi/library.ts";
import { GrammarMatchLayout } from "./ffi/symbols.gen.ts";
import { found } from "./internal/check.ts";

/** How far a text is of a grammar. */
export interface GrammarMatch {
  /** Whether all of it is, and the grammar can end there. */
  readonly matches: boolean;
  /** Bytes of its UTF-8 that some text of the grammar begins with. */
  readonly read: number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** Room for the text of an error. */
const messageBytes = 1024;

/**
 * Says whether a text is of a grammar, and how far it is. It needs no model.
 *
 * @param grammar In GBNF. Tokens that it names are in no text.
 * @param text Any text.
 * @throws {EngineError} `"invalid-argument"` when the grammar is wrong, with line and column, or needs more
 *   memory than it may have.
 *
 * @example
 * ```ts
 * import { matchGrammar } from "./mod.ts";
 *
 * const date = 'root ::= [0-9]{4} "-" [0-9]{2} "-" [0-9]{2}';
 * console.log(await matchGrammar(date, "2026-11-27")); // { matches: true, read: 10 }
 * console.log(await matchGrammar(date, "2026-Nov")); // { matches: false, read: 5 }
 * ```
 */
export async function matchGrammar(grammar: string, text: string): Promise<GrammarMatch> {
  if (typeof grammar !== "string" || typeof text !== "string") {
    const wrong = typeof grammar === "string" ? text : grammar;
    throw new TypeError(`Expected a grammar and a text, but found ${found(wrong)}`);
  }
  const library = await openLibrary();
  const [rules, subject] = [encoder.encode(grammar), encoder.encode(text)];
  const out = new Uint8Array(GrammarMatchLayout.bytes + messageBytes);
  const view = new DataView(out.buffer);
  const { vitrine_grammar_match } = library.calls;
  const status = vitrine_grammar_match(
    rules,
    rules.length,
    subject,
    subject.length,
    out,
    out.length,
  );
  if (status !== 0) {
    const length = view.getUint32(GrammarMatchLayout.text_length, true);
    const message = decoder.decode(
      out.subarray(GrammarMatchLayout.bytes, GrammarMatchLayout.bytes + length),
    );
    const { code } = statusError(library, status, 0);
    throw new EngineError(code, message);
  }
  return {
    matches: view.getUint32(GrammarMatchLayout.whole, true) !== 0,
    read: view.getUint32(GrammarMatchLayout.read, true),
  };
}
