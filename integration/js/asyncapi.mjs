// Checks an AsyncAPI 3.0 document against the schema of the specification, and values against the payloads of its messages.
//
//   node asyncapi.mjs document.json values.json
//
// The values are {message: [[argument, …], …]}, by the keys of the messages of all channels. Prints what is wrong, a line each.
import { readFileSync } from "node:fs";
import Ajv from "ajv";
import addFormats from "ajv-formats";
import specs from "@asyncapi/specs";

const read = (file) => JSON.parse(readFileSync(file, "utf8"));
const [document, values] = process.argv.slice(2).map(read);

const specification = new Ajv({ allErrors: true, strict: false });
addFormats(specification);
const wrong = (what, errors) => errors.forEach((e) => console.log(`${what}: ${e.instancePath} ${e.message}`));

const valid = specification.compile(specs.schemasWithoutId["3.0.0"]);
if (!valid(document)) wrong("document", valid.errors);

// Every reference must lead somewhere: the schema of the specification does not say so.
function resolve(ref) {
  return ref.slice(2).split("/").reduce((at, key) => at?.[decodeURIComponent(key).replaceAll("~1", "/").replaceAll("~0", "~")], document);
}
JSON.stringify(document, (key, value) => {
  if (key === "$ref" && resolve(value) === undefined) console.log(`document: ${value} leads nowhere`);
  return value;
});
for (const [id, { channel, messages, reply }] of Object.entries(document.operations)) {
  for (const { $ref } of [...messages, ...(reply?.messages ?? [])]) {
    if (!$ref.startsWith(`${channel.$ref}/messages/`)) console.log(`document: ${id}: ${$ref} is no message of ${channel.$ref}`);
  }
}

for (const { messages } of Object.values(document.channels)) {
  for (const [id, { payload }] of Object.entries(messages)) {
    const ajv = new Ajv({ allErrors: true, strictTypes: false, strictTuples: false, keywords: ["components"] });
    addFormats(ajv);
    const fits = ajv.compile({ ...payload, components: document.components });
    for (const args of values[id] ?? []) {
      if (!fits(args)) wrong(id, fits.errors);
    }
  }
}
