/**
 * Reads the cache policy of a saved session, and says it in few rules.
 *
 * @module
 */
import type { KvPolicy, KvRule, KvShape, KvStored } from "../kv_policy.ts";
import { groupMin, groupWanted } from "./kv_layout.ts";
import { formatCode, isStored, KvTable, type KvTableShape } from "./kv_table.ts";

const sides = ["key", "value"] as const;

/** The table of a saved session; `what` names its policy in errors. */
export function tableOfFile(policy: KvPolicy, shape: KvTableShape, what: string): KvTable {
  return inFewRules(new KvTable(groupsNamed(policy), shape, what));
}

/** Files name no groups of 32; in a policy that is written by hand some formats have longer ones then. */
function groupsNamed(policy: KvPolicy): KvPolicy {
  const named = (given: KvRule["format"]): KvRule["format"] => {
    const stored: KvStored | undefined = typeof given === "string" ? { format: given } : given;
    if (!isStored(stored) || groupWanted[stored.format] === undefined) return given;
    return { ...stored, group: stored.group ?? groupMin };
  };
  const { key, value, rules } = policy;
  return {
    ...policy,
    ...(key !== undefined && { key: named(key) }),
    ...(value !== undefined && { value: named(value) }),
    ...(Array.isArray(rules) && {
      rules: rules.map((rule: KvRule) =>
        rule?.format === undefined ? rule : { ...rule, format: named(rule.format) }
      ),
    }),
  };
}

/**
 * The table of a saved session as one would write it: files have a rule for each layer that differs from plain
 * keys and values, so that options of all layers make as many rules as there are layers.
 */
export function inFewRules(table: KvTable): KvTable {
  const { shape } = table;
  const short = new KvTable(gathered(table.policy, shape), shape, "the policy in few rules");
  // Rules that overlap, which the engine writes none of, mean what they mean in their order only.
  const isSame = short.windows.equals(table.windows) && sides.every((side) => {
    const own = short.heads(side);
    return table.heads(side).every((head, i) => formatCode(head) === formatCode(own[i]!));
  });
  return isSame ? short : table;
}

/** What is said of some layers. */
interface Gathered {
  readonly rule: Omit<KvRule, "layers">;
  readonly layers: number[];
}

/** One rule for all layers of which the same is said, and none for what is said of most. */
function gathered({ rules = [], ...base }: KvPolicy, { layers }: KvShape): KvPolicy {
  const groups = new Map<string, Gathered>();
  for (const { layers: named = [...Array(layers).keys()], ...rule } of rules) {
    const name = JSON.stringify(rule);
    const group: Gathered = groups.get(name) ?? { rule, layers: [] };
    group.layers.push(...[named].flat());
    groups.set(name, group);
  }
  const usual: Partial<Record<typeof sides[number], KvRule["format"]>> = {};
  for (const side of sides) {
    const whole = [...groups].filter(([, { rule }]) =>
      rule.which === side && rule.heads === undefined && rule.format !== undefined
    );
    // Only where every layer has a rule, what is said of the others is free to change.
    if (whole.reduce((sum, [, group]) => sum + group.layers.length, 0) < layers) continue;
    const [name, { rule }] = whole.reduce((most, one) =>
      one[1].layers.length > most[1].layers.length ? one : most
    );
    groups.delete(name);
    usual[side] = rule.format;
  }
  const left = [...groups.values()].map(({ rule, layers }): KvRule => ({ layers, ...rule }));
  return { ...base, ...usual, ...(left.length > 0 && { rules: left }) };
}
