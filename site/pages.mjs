// The pages of the site, in the order in which its navigation has them. A document that is not here, or is in two places, ends the build.
const doc = (...names) => names.map((name) => `docs/${name}.md`);

export const sections = [
  ['Start', ['README.md', ...doc('getting-started', 'installing', 'clients', 'faq', 'page'), 'examples/README.md']],
  ['Players', doc('contract', 'logins', 'sessions-from-other-languages', 'recovery', 'combat', 'compatibility')],
  ['Your own features', doc('adding-a-feature', 'backends', 'webhooks', 'server-api', 'guide-map')],
  ['Operating', doc('configuration', 'operations', 'redis', 'redis-acl', 'admin-ui', 'upgrading', 'security', 'performance')],
  ['Reference', ['docs/EVENTS.md', 'reference/http-api.md', 'reference/flags.md', 'reference/metrics.md', 'docs/logs.md']],
  ['The project', ['ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md', ...doc('releasing', 'promises', 'from-bug-reports')]],
];
// These folders of documents are listed at the end: all that is in them.
export const folders = [['Examples', 'examples'], ['Decisions', 'docs/adr']];

export const repository = 'https://github.com/aeturnis/realtime/blob/main/';
// The file of a page: README.md is the index of its folder.
export const pageOf = (file) => file.replace(/(^|\/)README\.md$/, '$1index.md');
