// node page.mjs PAGE.html EXPRESSION: the value, as JSON, of an expression over what the page's scripts compute.
// Only the scripts that need no screen run: the data, and what follows from it.
import { readFileSync } from "node:fs";

const [, , page, expression] = process.argv;
const html = readFileSync(page, "utf8");
const scripts = ["data", "facts", "heatmaps"].map(name => readFileSync(new URL(`../../pipelines/instanceflow/web/${name}.js`, import.meta.url)));

globalThis.document = {
  getElementById(id) {
    const found = html.match(new RegExp(`<script[^>]*id="${id}"[^>]*>([^]*?)</script>`));
    return found && { textContent: found[1], dataset: { type: /data-type="(\w+)"/.exec(found[0])?.[1] } };
  },
};
const plain = "(key, value) => ArrayBuffer.isView(value) ? Array.from(value) : value";
const source = `${scripts.join("\n")}\nexport const value = JSON.stringify(${expression}, ${plain});`;
const made = await import(`data:text/javascript;base64,${Buffer.from(source).toString("base64")}`);
process.stdout.write(made.value);
