/**
 * What the study of KV-cache precision asks: published findings, and the caches that show whether
 * they hold here. In each experiment one thing changes.
 *
 * @module
 */

import {
  kvFormats,
  type KvPolicy,
  type KvQuantiser,
  type KvScheme,
  type KvSimulation,
  type KvStored,
} from "../../mod.ts";

/** A cache, and what it is called. */
export interface Variant {
  readonly name: string;
  readonly cache: KvPolicy | { readonly simulate: KvSimulation };
}

/** What was found of a variant. */
export interface Found {
  readonly name: string;
  /** Bits of a stored number, over keys and values, scales included. */
  readonly bits: number;
  readonly kl: { readonly mean: number; readonly p99: number; readonly max: number };
  readonly sameTop: number;
  readonly perplexity: number;
}

/** Something that was published, as a relation between variants. */
export interface Claim {
  readonly text: string;
  /** Given the mean KL divergence of a variant. */
  holds(kl: (name: string) => number): boolean;
}

export interface Experiment {
  readonly id: string;
  readonly title: string;
  /** What it is about, with the published figures and where they are from. */
  readonly about: string;
  readonly variants: readonly Variant[];
  readonly claims: readonly Claim[];
}

/** Levels that were fitted to other text than what is measured. */
export interface Levels {
  readonly key: readonly number[];
  readonly value: readonly number[];
}

/** What no scheme touches is in f32. */
function simulated(name: string, key: KvQuantiser, value: KvQuantiser): Variant {
  return { name, cache: { simulate: { key, value } } };
}

const less = (text: string, a: string, b: string): Claim => ({
  text,
  holds: (kl) => kl(a) < kl(b),
});

/** The real formats: of keys, of values, and of both. */
function formats(): Experiment {
  const narrow = kvFormats.filter((format) => format !== "f32");
  return {
    id: "formats",
    title: "The formats that are stored",
    about: "Real storage, decoded inside the attention kernels. Published for Llama-3-8B in " +
      "llama.cpp (pull request 7412): KL divergence 0.000189 for f16 in both, 0.000743 with values " +
      "in q8_0, 0.000944 with keys in q8_0, 0.000980 with both; there it contains the rounding of " +
      "activations, here it is that of the cache alone.",
    variants: narrow.flatMap((format) => [
      { name: `${format}/f32`, cache: { key: format, value: "f32" as const } },
      { name: `f32/${format}`, cache: { key: "f32" as const, value: format } },
      { name: `${format}/${format}`, cache: { key: format, value: format } },
    ]),
    claims: [
      less("f16 costs less than q8_0", "f16/f16", "q8_0/q8_0"),
      less("values in q8_0 cost less than keys in q8_0", "f32/q8_0", "q8_0/f32"),
      {
        text: "q8_0 costs under 0.001 nat a token",
        holds: (kl) => kl("q8_0/q8_0") < 0.001,
      },
    ],
  };
}

/** At three bits, one ingredient after the other. */
function ablation(levels: Levels): Experiment {
  const base: KvScheme = { bits: 3, group: 64 };
  const channel: KvScheme = { ...base, axis: "channel" };
  const before: KvScheme = { ...channel, beforeRope: true };
  const [key, value] = [{ ...before, levels: levels.key }, { ...base, levels: levels.value }];
  const names = [
    "per token",
    "+ keys per channel",
    "+ before RoPE",
    "+ own levels",
    "+ 1 % outliers",
  ];
  return {
    id: "kvquant",
    title: "KVQuant's ingredients at three bits",
    about: "KVQuant (Hooper et al. 2024, arXiv 2401.18079) adds them in this order and gains " +
      "3.82, 0.82, 0.29 and 0.19 of perplexity with LLaMA-7B at 3 bits: keys per channel, keys " +
      "before their rotary embedding, levels that are not evenly spaced, one value in a hundred " +
      "kept as it is. There, levels are fitted for each layer by the gradient of the loss, and a " +
      "group is a whole channel; here, one set of levels for all keys and one for all values has the " +
      "least square error (k-means) on the first quarter of the text, which is not measured. Groups " +
      "of 64 values have a scale and a minimum of 16 bits each, in all rows.",
    variants: [
      simulated("per token", base, base),
      simulated("+ keys per channel", channel, base),
      simulated("+ before RoPE", before, base),
      simulated("+ own levels", key, value),
      simulated("+ 1 % outliers", { ...key, outliers: 0.01 }, { ...value, outliers: 0.01 }),
    ],
    claims: [
      ...names.slice(1).map((name, i) =>
        less(`${name.slice(2)}: better`, name, names[i] as string)
      ),
      {
        text: "the first ingredient gains most",
        holds: (kl) => {
          const gains = names.slice(1).map((name, i) => kl(names[i] as string) - kl(name));
          return gains.indexOf(Math.max(...gains)) === 0;
        },
      },
    ],
  };
}

/** Along which axis groups lie. */
function axes(bits: number): Experiment {
  const along = (axis: "token" | "channel"): KvScheme => ({ bits, axis, group: 32 });
  const variants = (["token", "channel"] as const).flatMap((key) =>
    (["token", "channel"] as const).map((value) =>
      simulated(`keys per ${key}, values per ${value}`, along(key), along(value))
    )
  );
  const best = "keys per channel, values per token";
  return {
    id: `kivi${bits}`,
    title: `KIVI's choice of axes at ${bits} bits`,
    about: "KIVI (Liu et al. 2024, arXiv 2402.02750): keys have channels that are large in every " +
      "token, values have none, so keys are grouped along the channel and values along the token. " +
      "Llama-2-13B on CoQA: 66.37 at 16 bits, 63.53 with both per token at 2 bits, 66.23 as KIVI. " +
      "Groups of 32; the window of recent tokens that KIVI keeps is left out of all rows.",
    variants,
    claims: variants.filter(({ name }) => name !== best).map(({ name }) =>
      less(`better than ${name}`, best, name)
    ),
  };
}

/** Which of the two needs the bits. */
const sides: Experiment = {
  id: "sides",
  title: "Keys need more bits than values",
  about:
    "Published (arXiv 2502.15075): with 4 bits for keys and 2 for values 75.2 % of GSM8K, the other way round " +
    "54.7 %. Groups of 32 along the token, and with keys along the channel.",
  variants: [
    ...(["token", "channel"] as const).flatMap((axis) =>
      [[4, 2], [3, 3], [2, 4]].map(([k, v]) =>
        simulated(
          `${k}-bit keys per ${axis}, ${v}-bit values`,
          { bits: k as number, axis, group: 32 },
          { bits: v as number, group: 32 },
        )
      )
    ),
  ],
  claims: [
    less(
      "per token, 4/2 is better than 2/4",
      "4-bit keys per token, 2-bit values",
      "2-bit keys per token, 4-bit values",
    ),
    less(
      "with keys per channel too",
      "4-bit keys per channel, 2-bit values",
      "2-bit keys per channel, 4-bit values",
    ),
  ],
};

/** Hadamard matrices, with one scale for a head and with small groups. */
function rotation(length: number): Experiment {
  const variants = [length, 32].flatMap((group) =>
    [[false, false], [true, false], [false, true], [true, true]].map(([k, v]) => {
      const what = k && v
        ? "both rotated"
        : k
        ? "keys rotated"
        : v
        ? "values rotated"
        : "as they are";
      return simulated(
        `groups of ${group}, ${what}`,
        { bits: 4, group, rotate: k as boolean },
        { bits: 4, group, rotate: v as boolean },
      );
    })
  );
  return {
    id: "rotation",
    title: "Rotation at four bits",
    about: "QuaRot (Ashkboos et al. 2024, arXiv 2404.00456) multiplies each head with a Hadamard " +
      "matrix, which spreads outliers over all channels, and then rounds per token. Four bits " +
      "with a scale and a minimum, one group a head and groups of 32.",
    variants,
    claims: [length, 32].flatMap((group) => [
      less(
        `groups of ${group}: rotating keys helps`,
        `groups of ${group}, keys rotated`,
        `groups of ${group}, as they are`,
      ),
      less(
        `groups of ${group}: rotating values helps`,
        `groups of ${group}, values rotated`,
        `groups of ${group}, as they are`,
      ),
    ]),
  };
}

/** The first tokens kept as they are. */
const sinks: Experiment = {
  id: "sinks",
  title: "Sink tokens kept as they are",
  about:
    "Much of the attention goes to the first tokens (Xiao et al. 2023, arXiv 2309.17453), so " +
    "that KVQuant keeps the first one in full. Two bits, groups of 32, keys per channel, values " +
    "per token.",
  variants: [0, 1, 4, 16].map((count) =>
    simulated(
      `${count} sink tokens`,
      { bits: 2, axis: "channel", group: 32, sinks: count },
      { bits: 2, group: 32, sinks: count },
    )
  ),
  claims: [
    less("one helps", "1 sink tokens", "0 sink tokens"),
    {
      text: "the first one gains more than the next three",
      holds: (kl) =>
        kl("0 sink tokens") - kl("1 sink tokens") > kl("1 sink tokens") - kl("4 sink tokens"),
    },
  ],
};

/** The last tokens kept as they are. */
const recent: Experiment = {
  id: "recent",
  title: "KIVI's window of recent tokens",
  about:
    "KIVI (Liu et al. 2024, arXiv 2402.02750) keeps the last tokens in full, 128 of them in its tables, because " +
    "attention looks at them most and a group of keys is only rounded when it is whole. Two bits, groups of 32, keys " +
    "per channel, values per token; the window is in f16. The last row is the same policy in real storage, where " +
    "keys are rounded when 32 tokens are there. Bits are those in memory behind 1,024 tokens, where a window is long: " +
    "tokens that have left it stay in its pages for a while (a session can be shortened by 64), so that 192 tokens are " +
    "in f16 beside their places for a window of 32 or 64, and 256 for one of 128, however long the text is.",
  variants: [
    ...[0, 32, 64, 128].map((count) => ({
      name: `${count} recent tokens`,
      cache: {
        simulate: {
          key: { bits: 2, axis: "channel" as const, group: 32 },
          value: { bits: 2, group: 32 },
          recent: count,
        },
      },
    })),
    { name: "128 recent tokens, stored", cache: { key: "int2", value: "int2", recent: 128 } },
  ],
  claims: [
    less("a window of 32 helps", "32 recent tokens", "0 recent tokens"),
    less("a window of 128 is better than one of 32", "128 recent tokens", "32 recent tokens"),
  ],
};

/** Options of real storage, one at a time. */
function stored(): Experiment {
  const variant = (
    name: string,
    key: Omit<KvStored, "format">,
    value: typeof key = {},
  ): Variant => ({
    name,
    cache: {
      key: { format: "int2", ...key },
      value: { format: "int2", ...value },
      recent: 64,
    },
  });
  return {
    id: "stored",
    title: "Options of stored integers at two bits",
    about:
      "Real storage in KIVI's layout with 64 recent tokens in f16, and one option at a time: keys before " +
      "their rotary embedding and outliers as KVQuant has them, rotation as QuaRot has it, levels without a " +
      "minimum, and groups twice as long.",
    variants: [
      variant("as they are", {}),
      variant("keys before RoPE", { beforeRope: true }),
      variant("1 % outliers", { outliers: 0.01 }, { outliers: 0.01 }),
      variant("both rotated", { rotate: true }, { rotate: true }),
      variant("symmetric", { symmetric: true }, { symmetric: true }),
      variant("groups of 64", { group: 64 }, { group: 64 }),
    ],
    claims: [
      less("before RoPE: better", "keys before RoPE", "as they are"),
      less("1 % outliers: better", "1 % outliers", "as they are"),
      less("a minimum is better than symmetric levels", "as they are", "symmetric"),
      less("short groups are better", "as they are", "groups of 64"),
    ],
  };
}

/** All experiments for a model whose heads have so many values. */
export function experiments(headLength: number, levels: Levels): Experiment[] {
  return [
    formats(),
    ablation(levels),
    axes(2),
    axes(4),
    sides,
    rotation(headLength),
    sinks,
    recent,
    stored(),
  ];
}

/** One layer's keys or values alone at two bits: how much each of them matters. */
export function layerVariants(layers: number): Variant[] {
  return (["key", "value"] as const).flatMap((which) =>
    Array.from({ length: layers }, (_, layer) => ({
      name: `${which} ${layer}`,
      cache: {
        simulate: {
          rules: [{
            layers: layer,
            which,
            format: which === "key"
              ? { bits: 2, axis: "channel" as const, group: 32 }
              : { bits: 2, group: 32 },
          }],
        },
      },
    }))
  );
}
