// Lays the documents of the repository into pages/, where they stand as in the repository, with the pages that are generated: the calls of the
// server API, the flags, the metrics. Writes navigation.json. Ends with an error when a document is in no section, or a page has no title.
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { folders, pageOf, sections } from './pages.mjs';

const root = new URL('..', import.meta.url).pathname;
const pages = new URL('pages/', import.meta.url).pathname;
const read = (file) => readFileSync(root + file, 'utf8');
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' }).trim().split('\n').filter((file) => existsSync(root + file));
const fail = (why) => { console.error(`site: ${why}`); process.exit(1); };
const put = (file, text) => {
  mkdirSync(dirname(pages + file), { recursive: true });
  writeFileSync(pages + file, text);
};

rmSync(pages, { recursive: true, force: true });
for (const [file, generate] of [['reference/http-api.md', httpAPI], ['reference/flags.md', flags], ['reference/metrics.md', metrics]]) put(file, generate());
for (const file of files) {
  if (/^(docs\/.*|examples\/.*|[A-Z]+)\.md$/.test(file)) put(pageOf(file), read(file));
  if (/^docs\/.*\.png$/.test(file)) {
    mkdirSync(dirname(pages + file), { recursive: true });
    copyFileSync(root + file, pages + file);
  }
}
for (const name of ['asyncapi.json', 'openapi.json', 'events.d.ts']) { // links to them are to the files
  mkdirSync(`${pages}public/docs`, { recursive: true });
  copyFileSync(`${root}docs/${name}`, `${pages}public/docs/${name}`);
}

mkdirSync(`${pages}public`, { recursive: true });
copyFileSync(`${root}web/testclient/static/favicon.svg`, `${pages}public/favicon.svg`);

const staged = files.filter((file) => existsSync(pages + pageOf(file)) && file.endsWith('.md')).concat(['reference/http-api.md', 'reference/flags.md', 'reference/metrics.md']);
const listed = new Set();
const item = (file) => {
  if (listed.has(file)) fail(`${file} is in two sections of pages.mjs`);
  if (!staged.includes(file)) fail(`there is no ${file}, which pages.mjs names`);
  listed.add(file);
  const title = readFileSync(pages + pageOf(file), 'utf8').match(/^# (.+)$/m);
  if (!title) fail(`${file} has no title`);
  return { text: title[1].replace(/`/g, ''), link: `/${pageOf(file).replace(/index\.md$/, '').replace(/\.md$/, '')}` };
};
const navigation = sections.map(([text, names]) => ({ text, collapsed: false, items: names.map(item) }));
for (const [text, folder] of folders) {
  navigation.push({ text, collapsed: true, items: staged.filter((file) => file.startsWith(`${folder}/`) && !listed.has(file)).map(item) });
}
const lost = staged.filter((file) => !listed.has(file));
if (lost.length) fail(`no section of pages.mjs has ${lost.join(', ')}`);
writeFileSync(new URL('navigation.json', import.meta.url), JSON.stringify(navigation, null, 1));
console.log(`site: ${staged.length} pages`);

// A call for each heading, with what it takes, answers and refuses.
function httpAPI() {
  const api = JSON.parse(read('docs/openapi.json'));
  const schemas = api.components.schemas;
  const nameOf = (schema) => schema.$ref?.split('/').pop();
  const typeOf = (schema) => {
    if (schema.$ref) return `[${nameOf(schema)}](#${nameOf(schema).toLowerCase()})`;
    const bounds = [['minLength', 'at least $ characters'], ['maxLength', 'at most $ characters'], ['minimum', 'at least $'], ['maximum', 'at most $'], ['minItems', 'at least $'], ['maxItems', 'at most $']]
      .filter(([key]) => schema[key] !== undefined).map(([key, text]) => text.replace('$', schema[key]));
    const type = schema.type === 'array' ? `list of ${typeOf(schema.items ?? {})}` : schema.enum ? schema.enum.map((v) => `\`${v}\``).join(', ') : [schema.type].flat().join(' or ') || 'any';
    return [type, ...bounds].join(', ');
  };
  const cell = (text) => String(text ?? '').replace(/\|/g, '\\|').replace(/\n/g, ' ');
  const table = (rows, head) => (rows.length ? `| ${head.join(' | ')} |\n|${'---|'.repeat(head.length)}\n${rows.map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n')}\n\n` : '');
  const body = (content) => Object.values(content ?? {}).map(({ schema }) => typeOf(schema)).join(', ');
  let text = `# HTTP API\n\nThe calls of the server API, made of [openapi.json](../docs/openapi.json). [Server API](../docs/server-api.md) tells how they are used, with keys and examples.\n\n`;
  for (const tag of [...new Set(Object.values(api.paths).flatMap((path) => Object.values(path)).flatMap((call) => call.tags))]) {
    text += `## ${tag[0].toUpperCase()}${tag.slice(1)}\n\n`;
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, call] of Object.entries(methods)) {
        if (!call.tags.includes(tag)) continue;
        text += `### \`${method.toUpperCase()} ${path}\`\n\n${call.description}\n\n`;
        text += table((call.parameters ?? []).map((p) => [`\`${p.name}\``, p.in + (p.required ? ', required' : ''), typeOf(p.schema), p.description]), ['parameter', 'in', 'type', '']);
        if (call.requestBody) text += `Takes ${body(call.requestBody.content)}. `;
        text += `Answers ${body(call.responses[200]?.content) || 'nothing'}. Refusals: ${Object.entries(call.responses).filter(([status]) => status >= 400).map(([status, r]) => `${status} ${r.description}`).join('; ')}.\n\n`;
      }
    }
  }
  text += '## Types\n\n';
  for (const [name, schema] of Object.entries(schemas)) {
    text += `### ${name}\n\n${schema.description ?? ''}\n\n`;
    text += table(Object.entries(schema.properties ?? {}).map(([key, s]) => [`\`${key}\``, schema.required?.includes(key) ? 'yes' : '', typeOf(s), s.description]), ['field', 'always there', 'type', '']);
  }
  return text;
}

// A heading for each flag of serve.
function flags() {
  const help = read('docs/serve-help.txt');
  let text = '# Flags of `gateway serve`\n\nMade of what `gateway serve --help` prints. Each flag is also a setting of the environment (`--drain-for` is `GATEWAY_DRAIN_FOR`) and of the file ' +
    '(`drain-for`). [Configuration](../docs/configuration.md) explains them in groups.\n\n';
  const found = [...help.matchAll(/^ {2}(?:-\w, |    )(--[\w-]+)(\S*)(?:\n? +)((?:\S.*(?:\n {20,}\S.*)*)?)/gm)];
  const named = [...help.matchAll(/^ {2}(?:-\w, |    )(--[\w-]+)/gm)];
  if (found.length !== named.length || found.length < 50) fail(`serve-help.txt has ${named.length} flags, of which ${found.length} were read`);
  for (const [, flag, value, about] of found) {
    text += `## \`${flag}\`\n\n${value ? `\`${flag}${value}\`: ` : ''}${about.replace(/\s+/g, ' ').replace(/[<[*_]/g, '\\$&')}\n\n`;
  }
  return text;
}

// The metrics as the source names them.
function metrics() {
  const found = new Map();
  const named = new Map();
  for (const file of files.filter((name) => name.endsWith('.go') && !/_test\.go$|^internal\/(bench|chaos|conformance|loadtest)\/|^examples\//.test(name))) {
    const source = read(file);
    for (const [, name] of source.matchAll(/"(gateway_[a-z0-9_]+)"/g)) named.set(name, file);
    for (const [, name, help] of source.matchAll(/"(gateway_[a-z0-9_]+)",\s*(?:Help:\s*)?("(?:[^"\\]|\\.)*")/g)) found.set(name, JSON.parse(help));
    const prefix = source.match(/NewDesc\("(gateway_[a-z_]+_)"\+name, help/);
    if (!prefix) continue;
    named.delete(prefix[1]);
    for (const [, name, help] of source.matchAll(/\w+Desc\("([a-z_]+)", ("(?:[^"\\]|\\.)*")\)/g)) found.set(prefix[1] + name, JSON.parse(help));
  }
  const unread = [...named].filter(([name]) => !found.has(name));
  if (unread.length || found.size < 90) fail(`these metrics were not understood: ${unread.join(' ')} (${found.size} were)`);
  let text = '# Metrics\n\nMade of the source. `/metrics` of the [operators\' address](../docs/operations.md#health) serves them to Prometheus, with those of the Go runtime and of the process. ' +
    'Names that end in `_total` only rise. [Alerts](../docs/operations.md#alerts) says what to do when they are bad.\n\n';
  let group = '';
  for (const [name, help] of [...found].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const [, next] = name.split('_');
    if (next !== group) text += `## ${next}\n\n`;
    group = next;
    text += `### \`${name}\`\n\n${help.replace(/[<[*_]/g, '\\$&')}\n\n`;
  }
  return text;
}
