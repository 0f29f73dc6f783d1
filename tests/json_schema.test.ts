/** JSON Schemas as grammars: what each must and must not match, and texts that a model writes with them. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type JsonSchema,
  jsonSchema,
  jsonSchemaGrammar,
  loadModel,
  matchGrammar,
  temperature,
} from "../mod.ts";
import { accepts } from "../src/internal/json_schema/accepts.ts";
import { tinyModel } from "./support/tiny_model.ts";

/** A schema, texts that its grammar has, and texts that it has not. */
type Case = readonly [schema: JsonSchema, good: readonly string[], bad: readonly string[]];

const tree = {
  $defs: {
    node: {
      type: "object",
      properties: {
        value: { type: "integer" },
        children: { type: "array", items: { $ref: "#/$defs/node" } },
      },
      required: ["value"],
    },
  },
  $ref: "#/$defs/node",
};

const simple: readonly Case[] = [
  [{}, ["1", '"a"', "null", '{"a": [1, {"b": true}]}', "[]", "-0.5e+3"], [
    "",
    "nul",
    "{a: 1}",
    "[1,]",
    "01",
  ]],
  [true, ["{}"], ["{"]],
  [{ type: "null" }, ["null"], ["0", '"null"']],
  [{ type: "boolean" }, ["true", "false"], ["True", "1"]],
  [{ type: ["string", "null"] }, ['"x"', "null"], ["1", "[]"]],
  [{ type: "number" }, ["0", "-1.25", "3e5", "12"], ["1.", ".5", "+1", '"1"', "00"]],
  [{ type: "integer" }, ["0", "-7", "123456789012345"], ["1.5", "1e3", "1234567890123456"]],
  [{ enum: [1, "a", null, { b: [1] }] }, ["1", '"a"', "null", '{"b":[1]}'], ["2", '"b"', "{}"]],
  [{ const: 'say "é"\n' }, ['"say \\"é\\"\\n"'], ['"say"']],
  [{ enum: [1, 2, "x", 7], type: "integer", maximum: 5 }, ["1", "2"], ['"x"', "7"]],
  [{ anyOf: [{ type: "string" }, { const: 5 }] }, ['"5"', "5"], ["6", "null"]],
  [{ oneOf: [{ type: "string" }, { type: "array", items: { type: "null" } }] }, ['""', "[null]"], [
    "[1]",
  ]],
];

const numbers: readonly Case[] = [
  [{ type: "integer", minimum: 7, maximum: 123 }, ["7", "9", "10", "99", "123"], [
    "6",
    "124",
    "07",
    "-8",
    "200",
  ]],
  [{ type: "integer", minimum: -15, maximum: 3 }, ["-15", "-9", "-1", "0", "3"], [
    "-16",
    "4",
    "-20",
    "-0",
  ]],
  [{ type: "integer", minimum: -99, maximum: -10 }, ["-10", "-55", "-99"], [
    "-9",
    "-100",
    "10",
    "0",
  ]],
  [{ type: "integer", exclusiveMinimum: 0, exclusiveMaximum: 10 }, ["1", "9"], ["0", "10"]],
  [{ type: "integer", minimum: 1.5, maximum: 2.5 }, ["2"], ["1", "3"]],
  [{ type: "integer", minimum: 100 }, ["100", "101", "99999"], ["99", "0", "-100"]],
  [{ type: "integer", maximum: -5 }, ["-5", "-10", "-4000"], ["-4", "0", "5"]],
];

const strings: readonly Case[] = [
  [{ type: "string", minLength: 2, maxLength: 3 }, ['"ab"', '"é字x"', '"\\n\\u00e9"', '"😀😀"'], [
    '"a"',
    '"abcd"',
    '"😀"',
  ]],
  [{ type: "string" }, ['""', '"\\/\\b"'], ['"\n"', '"\\x"', '"\\ud800"']],
  [{ type: "string", pattern: "^[a-c]+\\d{2}$" }, ['"a00"', '"abc99"'], [
    '"00"',
    '"a0"',
    '"a00x"',
    '"d00"',
  ]],
  [{ type: "string", pattern: "b" }, ['"b"', '"abc"', '"é b"'], ['"a"', '""']],
  [{ type: "string", pattern: '^(?:x|"|\\\\)?[^\\w]\\.$' }, [
    '"x-."',
    '"\\"!."',
    '"\\\\ ."',
    '"-."',
  ], ['"xa."', '"x-"']],
  [{ type: "string", pattern: "^a|b$" }, ['"axx"', '"xxb"'], ['"xa"', '"bx"']],
  [{ type: "string", format: "date" }, ['"2024-02-29"', '"2023-12-31"', '"2000-02-29"'], [
    '"2023-02-29"',
    '"1900-02-29"',
    '"2024-04-31"',
    '"2024-13-01"',
    '"2024-00-10"',
  ]],
  [{ type: "string", format: "time" }, ['"23:59:59Z"', '"00:00:00.125+05:30"'], [
    '"24:00:00Z"',
    '"12:00:00"',
    '"12:60:00Z"',
  ]],
  [{ type: "string", format: "date-time" }, ['"2024-02-29T10:00:00Z"'], [
    '"2024-02-29"',
    '"2024-02-30T10:00:00Z"',
  ]],
  [{ type: "string", format: "uuid" }, ['"01234567-89ab-cdef-0123-456789ABCDEF"'], [
    '"01234567-89ab-cdef-0123-456789ABCDEG"',
  ]],
];

const arrays: readonly Case[] = [
  [{ type: "array", items: { type: "integer" } }, ["[]", "[1, 2]", "[ 1,\n 2 ]"], [
    "[1 2]",
    '["a"]',
    "[1,]",
  ]],
  [{ type: "array", items: { const: 1 }, minItems: 2, maxItems: 3 }, ["[1,1]", "[1,1,1]"], [
    "[1]",
    "[1,1,1,1]",
    "[]",
  ]],
  [{ type: "array", items: { const: 1 }, maxItems: 1 }, ["[]", "[1]"], ["[1,1]"]],
  [{ type: "array", maxItems: 0 }, ["[]", "[ ]"], ["[1]"]],
  [{ prefixItems: [{ const: "a" }, { type: "null" }], minItems: 1 }, ['["a"]', '["a", null]'], [
    "[]",
    '["a", null, 1]',
    "[null]",
  ]],
  [{ prefixItems: [{ const: 1 }], items: { const: 2 }, minItems: 2, maxItems: 3 }, [
    "[1,2]",
    "[1,2,2]",
  ], ["[1]", "[1,2,2,2]", "[2]"]],
  [{ prefixItems: [{ const: 1 }], items: false }, ["[]", "[1]"], ["[1,1]"]],
];

const person = {
  type: "object",
  properties: { name: { type: "string" }, "a~/b": { type: "boolean" }, age: { type: "integer" } },
  required: ["age"],
};
const objects: readonly Case[] = [
  [person, [
    '{"age": 1}',
    '{"name": "x", "age": 1}',
    '{"name":"x","a~/b":true,"age":1}',
    '{ "age": 1\n}',
  ], [
    "{}",
    '{"name": "x"}',
    '{"age": 1, "name": "x"}',
    '{"age": 1, "more": 2}',
    '{"age": 1,}',
    '{"name": "x""age": 1}',
  ]],
  [{ type: "object" }, ["{}", '{"x": {"y": []}}'], ["[]"]],
  [{ type: "object", additionalProperties: { type: "integer" } }, ["{}", '{"a": 1, "b": 2}'], [
    '{"a": "x"}',
  ]],
  [{ type: "object", additionalProperties: false }, ["{}"], ['{"a": 1}']],
  [{ type: "object", maxProperties: 1, minProperties: 1 }, ['{"a": 1}'], [
    "{}",
    '{"a": 1, "b": 1}',
  ]],
  [
    { properties: { ab: { const: 1 }, abc: { const: 2 } }, additionalProperties: { const: 3 } },
    [
      "{}",
      '{"ab": 1}',
      '{"ab":1,"abc":2,"x":3}',
      '{"a": 3, "abd": 3, "": 3}',
      '{"abcd": 3}',
      '{"x\\u0062": 3}',
    ],
    ['{"ab": 3}', '{"abc": 3}', '{"a\\u0062": 3}', '{"x": 1}', '{"x":3,"ab":1}'],
  ],
  [{ type: "object", required: ["x"], properties: { y: { const: 1 } } }, ['{"y": 1, "x": [0]}'], [
    "{}",
    '{"y": 1}',
  ]],
  [{ type: "object", properties: { x: false, y: { const: 1 } } }, ["{}", '{"y": 1}'], ['{"x": 1}']],
];

const combined: readonly Case[] = [
  [
    {
      allOf: [
        { type: "object", properties: { a: { type: "integer" } }, required: ["a"] },
        { properties: { a: { minimum: 3, maximum: 4, type: "integer" }, b: { const: "b" } } },
      ],
    },
    ['{"a": 3}', '{"a": 4, "b": "b"}'],
    ['{"a": 5}', "{}", '{"a": 3, "b": 1}'],
  ],
  [
    {
      type: "object",
      properties: { a: { const: 1 }, b: { const: 2 } },
      anyOf: [{ required: ["a"] }, { required: ["b"] }],
    },
    ['{"a": 1}', '{"b": 2}', '{"a": 1, "b": 2}'],
    ["{}"],
  ],
  [
    {
      oneOf: [
        {
          properties: { kind: { const: "cat" }, lives: { const: 9 } },
          required: ["kind", "lives"],
        },
        { properties: { kind: { const: "dog" } }, required: ["kind"] },
      ],
    },
    ['{"kind": "cat", "lives": 9}', '{"kind": "dog"}'],
    ['{"kind": "cat"}', '{"kind": "cow"}'],
  ],
  [tree, ['{"value": 1}', '{"value": 1, "children": [{"value": 2, "children": []}]}'], [
    '{"children": []}',
    '{"value": 1, "children": [1]}',
  ]],
  [
    {
      type: "object",
      properties: { next: { anyOf: [{ $ref: "#" }, { type: "null" }] } },
      required: ["next"],
    },
    ['{"next": null}', '{"next": {"next": null}}'],
    ['{"next": {}}', "null"],
  ],
];

const schemas = suite("JSON Schemas");

const groups = { simple, numbers, strings, arrays, objects, combined };
for (const [name, cases] of Object.entries(groups)) {
  schemas(`${name}: texts that fulfil them match, and others don't`, async () => {
    for (const [schema, good, bad] of cases) {
      const grammar = jsonSchemaGrammar(schema);
      for (const text of good) {
        const { matches, read } = await matchGrammar(grammar, text);
        assert.ok(matches, `${JSON.stringify(schema)} matches ${text}, read ${read}\n${grammar}`);
        // The grammar has nothing that the definition has not.
        assert.ok(accepts(schema, schema, JSON.parse(text)), `${JSON.stringify(schema)} ${text}`);
      }
      for (const text of bad) {
        const { matches } = await matchGrammar(grammar, text);
        assert.not.ok(matches, `${JSON.stringify(schema)} does not match ${text}\n${grammar}`);
      }
    }
  });
}

schemas("whole numbers between bounds are exact", async () => {
  for (
    const [minimum, maximum] of [[0, 0], [5, 230], [-230, -5], [-12, 105], [99, 1001]] as const
  ) {
    const grammar = jsonSchemaGrammar({ type: "integer", minimum, maximum });
    for (let i = minimum - 12; i <= maximum + 12; i++) {
      const { matches } = await matchGrammar(grammar, `${i}`);
      assert.is(matches, i >= minimum && i <= maximum, `${i} from ${minimum} to ${maximum}`);
    }
  }
});

schemas("numbers between bounds are those that compare so", async () => {
  const ranges: JsonSchema[] = [
    { minimum: 0, maximum: 1 },
    { exclusiveMinimum: 0, exclusiveMaximum: 1 },
    { minimum: -1.25, maximum: 0.5 },
    { exclusiveMinimum: -12.5, maximum: -1.05 },
    { minimum: 0.31, exclusiveMaximum: 0.37 },
    { exclusiveMinimum: 9.9 },
    { maximum: -0.5 },
    { minimum: 2.5, maximum: 2.5 },
  ];
  const wholes = ["0", "1", "2", "9", "10", "12", "13", "100"];
  const fractions = [
    "",
    ".0",
    ".3",
    ".31",
    ".310",
    ".36",
    ".37",
    ".370",
    ".05",
    ".06",
    ".5",
    ".501",
    ".9",
    ".25",
  ];
  for (const range of ranges) {
    const schema = { type: "number", ...range as object };
    const grammar = jsonSchemaGrammar(schema);
    for (const text of wholes.flatMap((whole) => fractions.map((rest) => whole + rest))) {
      for (const signed of [text, `-${text}`]) {
        // Zero has no sign.
        const expected = accepts(schema, schema, Number(signed)) && !/^-[0.]+$/.test(signed);
        const { matches } = await matchGrammar(grammar, signed);
        assert.is(matches, expected, `${signed} in ${JSON.stringify(range)}\n${grammar}`);
      }
    }
  }
});

schemas("what a grammar can't follow is refused with its name and place", () => {
  const refused: [JsonSchema, RegExp][] = [
    [{ type: "number", multipleOf: 2 }, /"multipleOf" at #$/],
    [{ properties: { a: { not: {} } } }, /"not" at #\/properties\/a$/],
    [{ items: { uniqueItems: true } }, /"uniqueItems" at #\/items$/],
    [{ type: "number", minimum: 1e-9 }, /up to 15 digits on either side/],
    [{ type: "number", minimum: 1, exclusiveMaximum: 1 }, /that none does/],
    [{ type: "strin" }, /Expected a type \(null.* at #\/type, but found "strin"/],
    [{ format: "email" }, /date, time, date-time, uuid\) at #\/format, but found "email"/],
    [{ pattern: "(?=a)" }, /at #\/pattern, but found \(\?=/],
    [{ pattern: "\\bword" }, /found \\b/],
    [{ pattern: "^a", minLength: 2 }, /only one of pattern/],
    [{ $ref: "other.json" }, /#\/…\) at #\/\$ref, but found "other.json"/],
    [{ $ref: "#/$defs/none" }, /something at #\/\$defs\/none/],
    [{ $ref: "#" }, /circle/],
    [{ anyOf: [{ $ref: "#" }, { type: "null" }] }, /only inside of objects/],
    [{ allOf: [{ $ref: "#" }] }, /not a part of itself/],
    [{ oneOf: [{ type: "integer" }, { type: "number" }] }, /no two can hold together/],
    [{ allOf: [{ type: "string" }, { type: "null" }] }, /that none does/],
    [false, /but found false/],
    [{ type: "integer", minimum: 3, maximum: 2 }, /that none does/],
    [{ type: "object", properties: { a: {} }, minProperties: 1 }, /minProperties/],
  ];
  for (const [schema, message] of refused) {
    assert.throws(() => jsonSchemaGrammar(schema), message, JSON.stringify(schema));
  }
});

schemas("compact JSON has no blanks", async () => {
  const grammar = jsonSchemaGrammar({ type: "object", additionalProperties: { type: "null" } }, {
    compact: true,
  });
  assert.ok((await matchGrammar(grammar, '{"a":null,"b":null}')).matches);
  assert.not.ok((await matchGrammar(grammar, '{"a": null}')).matches);
});

schemas("a model of random weights writes JSON that fulfils them", async () => {
  using model = await loadModel(tinyModel({ context: 2048 }), { threads: 1 });
  const schema = {
    type: "object",
    properties: {
      id: { type: "string", format: "uuid" },
      day: { type: "string", format: "date" },
      n: { type: "integer", minimum: -40, maximum: 1234 },
      tags: { type: "array", items: { enum: ["red", "green", null] }, minItems: 1, maxItems: 3 },
      name: { type: "string", maxLength: 8 },
      code: { type: "string", pattern: "^[A-Z]{2}-\\d+?$", maxLength: undefined },
      flag: { type: ["boolean", "null"] },
    },
    required: ["id", "n", "tags", "flag"],
    additionalProperties: false,
  };
  delete (schema.properties.code as { maxLength?: unknown }).maxLength;
  using session = model.session({ context: 2048 });
  const sampler = [jsonSchema(schema), temperature(1)];
  const many = session.sampleMany("x", { n: 8, sampler, seed: 3, maxTokens: 600 });
  let whole = 0;
  for (const { text, stopReason } of await many.collect()) {
    // Blanks and digits may go on for long.
    if (stopReason !== "end") continue;
    whole += 1;
    assert.ok(accepts(schema, schema, JSON.parse(text)), text);
  }
  assert.ok(whole >= 4, `${whole} texts ended`);
});
schemas.run();
