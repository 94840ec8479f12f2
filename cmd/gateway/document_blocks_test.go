package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/tlstest"
)

// A documentBlock is a fenced block of a document.
type documentBlock struct {
	document string // below the repository's root
	line     int    // of its fence
	language string
	text     string
}

func (b documentBlock) String() string { return fmt.Sprintf("%s:%d", b.document, b.line) }

// firstLine names a block in the list of those that are not run.
func (b documentBlock) firstLine() string {
	first, _, _ := strings.Cut(strings.TrimSpace(b.text), "\n")
	return first
}

// blocksNotRun are the blocks of shell that no test here runs, by document and first line, and why.
// They are read by the shell all the same.
var blocksNotRun = map[string]string{
	"docs/operations.md loadtest recovery --target http://127.0.0.1:8080 --target http://127.0.0.1:8090 --redis redis://127.0.0.1:6379 --clients 30 --rate 150 --for 80s": "kills gateways for minutes: make chaos does",
	"docs/installing.md install -m 755 gateway-linux-amd64 /usr/local/bin/gateway":                                                                                        "installs into the system, from a release",
	"docs/installing.md gateway man >/usr/local/share/man/man1/gateway.1":                                                                                                 "installs into the system: TestCompletion and scripts/check-package try what it prints",
	"docs/installing.md apt-get install ./realtime-gateway_0.1.0_amd64.deb":                                                                                               "scripts/check-package installs the package, in a folder that stands for a system",
	"docs/installing.md podman load -i image-amd64.tar                                # or: docker load":                                                                  "needs the image of a release",
	"examples/artillery/README.md npm ci --ignore-scripts":                                                                                                                "artillery.test.js runs it, with 480 MB of packages",
	"examples/emitter/README.md npm ci":                                                                                                                                   "examples.test.js runs these lines",
	"examples/express/README.md npm ci":                                                                                                                                   "examples.test.js runs these lines",
	"examples/express/README.md curl -s -b jar -c jar http://127.0.0.1:3000/login -d name=bob --data-urlencode 'password=battery staple'":                                 "examples.test.js runs these lines, beside the site",
	"examples/client-go/README.md go run . --for 10s":                                                                                                                     "documents.test.js runs it",
	"examples/feature/README.md go run . --dev":                                                                                                                           "main_test.go of that module starts it",
	"examples/page/README.md npm ci":                                                                                                                                      "TestTheExampleOfAPage runs these lines",
}

// blockStandIns are texts of documents that stand for something of the reader's, and what they are
// in the tests. FOLDER is where the blocks of a document are run, ROOT the repository.
var blockStandIns = [][2]string{
	{"redis://10.0.0.5:6379/0", "REDIS"},
	{"redis://10.0.0.5", "REDIS"},
	{"redis://redis:6379", "REDIS"},
	{"redis://127.0.0.1:6379", "REDIS"},
	{"https://id.example/.well-known/jwks.json", "FOLDER/jwks.json"},
	{"/etc/gateway/operators", "FOLDER/operators"},
	{"/etc/gateway.yaml", "FOLDER/gateway.yaml"},
	{"/etc/site-secret", "FOLDER/site-secret"},
	{"gateway trade show ID;", "! gateway trade show ID;"},
	{"gateway lock show trade:ann:bob;", "! gateway lock show trade:ann:bob;"}, // there is none yet
	{"fullchain.pem", "FOLDER/gateway.pem"},
	{"privkey.pem", "FOLDER/gateway.key"},
	{"0.0.0.0:443", "127.0.0.1:0"},
	{"--clients 1000 --for 30s", "--clients 5 --for 1s"},
}

// readDocumentBlocks returns the fenced blocks of all documents.
func readDocumentBlocks(t *testing.T) (blocks []documentBlock) {
	t.Helper()
	names, err := exec.Command("git", "-C", "../..", "ls-files", "-co", "--exclude-standard", "*.md").Output()
	require.NoError(t, err)
	for _, name := range strings.Fields(string(names)) {
		var open *documentBlock
		indent, n := "", 0
		for line := range strings.Lines(textOf(t, filepath.Join("../..", name))) {
			n++
			trimmed := strings.TrimSpace(line)
			switch {
			case open == nil && strings.HasPrefix(trimmed, "```"):
				indent = line[:strings.Index(line, "`")]
				open = &documentBlock{document: name, line: n, language: strings.TrimPrefix(trimmed, "```")}
			case open != nil && trimmed == "```":
				blocks = append(blocks, *open)
				open = nil
			case open != nil:
				open.text += strings.TrimPrefix(line, indent)
			}
		}
		require.Nil(t, open, "%s has a block that does not end", name)
	}
	require.Greater(t, len(blocks), 60)
	return blocks
}

// Each block of a document says what it is, and is that. JavaScript and TypeScript are read by
// test/client/documents.test.js.
func TestBlocksOfDocumentsAreWhatTheySay(t *testing.T) {
	t.Parallel()
	counts := map[string]int{}
	for _, b := range readDocumentBlocks(t) {
		counts[b.language]++
		switch b.language {
		case "text", "js", "ts", "html", "python", "csharp", "sh":
		case "json":
			for d := json.NewDecoder(strings.NewReader(b.text)); ; {
				var v any
				if err := d.Decode(&v); errors.Is(err, io.EOF) {
					break
				} else if !assert.NoError(t, err, b) {
					break
				}
			}
		case "yaml":
			var v any
			require.NoError(t, yaml.Unmarshal([]byte(b.text), &v), b)
		case "go":
			_, err := parseGoBlock(b.text)
			require.NoError(t, err, b)
		default:
			t.Errorf("%s: a block of %q: name one of the languages that are checked, or text", b, b.language)
		}
	}
	for _, language := range []string{"sh", "json", "yaml", "go"} {
		require.Greater(t, counts[language], 2, language)
	}
}

// parseGoBlock parses a file, declarations or statements.
func parseGoBlock(text string) (file *ast.File, err error) {
	for _, form := range []string{"%s", "package p\n%s", "package p\nfunc f() {\n%s\n}", "package p\nvar all any\nfunc f() {\n%s\n}"} {
		if file, err = parser.ParseFile(token.NewFileSet(), "", fmt.Sprintf(form, text), parser.SkipObjectResolution); err == nil {
			return file, nil
		}
	}
	return nil, err
}

// The settings files of the documents are accepted as `gateway config check` accepts files.
func TestSettingsFilesOfDocuments(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	checked := 0
	for _, b := range readDocumentBlocks(t) {
		if b.language != "yaml" || !regexp.MustCompile(`(?m)^(addr|backends|policies):`).MatchString(b.text) {
			continue
		}
		checked++
		require.NoError(t, os.WriteFile(filepath.Join(folder, "secret"), []byte("a secret of the documents\n"), 0o600))
		text := strings.NewReplacer("/etc/gateway/quests.schema.json", mustAbs(t, "../../examples/backends/quests.schema.json"),
			"/run/secrets/quests", filepath.Join(folder, "secret"), "ca: /etc/gateway/ca.pem", "#").Replace(b.text)
		if !strings.Contains(text, "redis:") {
			text += "redis: redis://127.0.0.1:6379\n"
		}
		out, errs, code := command(t, "config", "check", writeFile(t, text))
		assert.Zero(t, code, "%s: %s%s", b, out, errs)
	}
	require.GreaterOrEqual(t, checked, 3)
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	require.NoError(t, err)
	return abs
}

// The programs that blocks of shell find in place of those that would build, install or never end.
const (
	// gatewayShim runs this program. `serve` returns when the gateway listens, as a reader goes on in
	// another terminal then; the gateway of an earlier line has ended before.
	gatewayShim = `#!/usr/bin/env bash
export REALTIME_TEST_IS_PROGRAM=1
if [ "$1" != serve ]; then exec "$SELF" "$@"; fi
if [ -f "$FOLDER/pid" ]; then
	kill "$(cat "$FOLDER/pid")" && while kill -0 "$(cat "$FOLDER/pid")" 2>/dev/null; do sleep 0.05; done
fi
"$SELF" "$@" --drain-for 0s >"$FOLDER/serve.log" 2>&1 </dev/null &
echo $! >"$FOLDER/pid"
for _ in $(seq 300); do
	grep -q '^listening on' "$FOLDER/serve.log" && exit 0
	kill -0 $! 2>/dev/null || break
	sleep 0.1
done
cat "$FOLDER/serve.log" >&2
exit 1
`
	// makeShim runs the gateway for make run, and of other targets finds out whether they are there.
	makeShim = `#!/usr/bin/env bash
if [ "$1" = run ]; then
	for a; do case $a in ARGS=*) args=${a#ARGS=} ;; esac; done
	exec gateway serve --dev ${args:-}
fi
[ "${MAKEFLAGS:-}" = "" ] || unset MAKEFLAGS
for a; do case $a in *=*) ;; *) grep -q "^$a:" "$ROOT/Makefile" || { echo "make: no target $a" >&2; exit 1; } ;; esac; done
`
	// loadtestShim is the load generator, which is built once.
	loadtestShim = "#!/usr/bin/env bash\nexec \"$LOADTEST\" \"$@\"\n"
	// gitShim is a clone with what the blocks of a reader need of it.
	gitShim = `#!/usr/bin/env bash
mkdir -p realtime/examples
cp -r "$ROOT/examples/backends" realtime/examples
sed -i "s/127.0.0.1:9000/$BACKEND/" realtime/examples/backends/gateway.yaml
`
	// htpasswdShim prints a line of an operator, whose hash needs apache2-utils.
	htpasswdShim = "#!/usr/bin/env bash\necho 'ada:$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe'\n"
)

// The lines of shell in each document are run in their order, in one shell, beside a real Redis.
// The addresses and files of a reader are those of blockStandIns.
func TestShellLinesOfDocumentsRun(t *testing.T) {
	t.Parallel()
	scripts, order, skipped := map[string]string{}, []string{}, map[string]bool{}
	for _, b := range readDocumentBlocks(t) {
		if b.language != "sh" {
			continue
		}
		syntax := exec.Command("bash", "-n")
		syntax.Stdin = strings.NewReader(b.text)
		out, err := syntax.CombinedOutput()
		require.NoError(t, err, "%s: %s", b, out)
		if name := b.document + " " + b.firstLine(); blocksNotRun[name] != "" {
			skipped[name] = true
			continue
		}
		if scripts[b.document] == "" {
			order = append(order, b.document)
		}
		scripts[b.document] += fmt.Sprintf("AT=%s\n%s\n", b, b.text)
	}
	for name := range blocksNotRun {
		assert.True(t, skipped[name], "no block is %q any more", name)
	}
	require.Greater(t, len(order), 8)
	generator := filepath.Join(t.TempDir(), "loadtest")
	built, err := exec.CommandContext(t.Context(), "go", "build", "-o", generator, "../loadtest").CombinedOutput() //nolint:gosec // ours
	require.NoError(t, err, "%s", built)
	for _, document := range order {
		t.Run(strings.ReplaceAll(document, "/", "_"), func(t *testing.T) {
			t.Parallel()
			runShellLines(t, scripts[document], generator)
		})
	}
}

// runShellLines runs lines of shell of one document in a folder of their own.
func runShellLines(t *testing.T, script, generator string) {
	t.Helper()
	folder, bin := t.TempDir(), t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	for name, text := range map[string]string{"gateway": gatewayShim, "make": makeShim, "loadtest": loadtestShim, "git": gitShim, "htpasswd": htpasswdShim} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(text), 0o700)) //nolint:gosec // a program
	}
	for name, text := range map[string]string{
		"jwks.json": `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","alg":"EdDSA","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
		"operators": "ada:$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe\n", "site-secret": "a secret of the site\n",
		"gateway.yaml": "session-ttl: 45m\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
	}
	authority := tlstest.New(t)
	authority.Issue("server", authority)
	for from, to := range map[string]string{"server.crt": "gateway.pem", "server.key": "gateway.key"} {
		require.NoError(t, os.Rename(authority.Path(from), filepath.Join(folder, to)))
	}
	url := redistest.Server(t, "--appendonly", "yes").URL() // doctor wants one that keeps what it has
	standIns := []string{}
	for _, pair := range blockStandIns {
		standIns = append(standIns, pair[0], strings.NewReplacer("REDIS", url, "FOLDER", folder).Replace(pair[1]))
	}
	env := append(os.Environ(), "FOLDER="+folder, "SELF="+self, "LOADTEST="+generator, "ROOT="+mustAbs(t, "../.."), "GATEWAY_REDIS="+url, "REDIS_URL="+url,
		"PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	for port, setting := range map[string]string{"8080": "GATEWAY_ADDR", "8081": "GATEWAY_ADMIN_ADDR", "8082": "", "9000": "BACKEND"} {
		free := freeAddr(t)
		standIns = append(standIns, "127.0.0.1:"+port, free, "--port "+port, "--port "+free[len("127.0.0.1:"):])
		if setting != "" {
			env = append(env, setting+"="+free)
		}
	}
	c := exec.CommandContext(t.Context(), "bash", "-c", "set -eu -o pipefail -o errtrace; trap 'echo \"$AT: $BASH_COMMAND\" >&2' ERR\n"+strings.NewReplacer(standIns...).Replace(script)) //nolint:gosec // our documents
	c.Dir, c.Env = folder, env
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said, err := os.Create(filepath.Join(bin, "said")) // no pipe: what it leaves behind may hold it
	require.NoError(t, err)
	defer said.Close()
	c.Stdout, c.Stderr = said, said
	err = c.Run()
	out := textOf(t, said.Name())
	if c.Process != nil { // the gateways that its lines started
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGTERM)
		require.Eventually(t, func() bool { return errors.Is(syscall.Kill(-c.Process.Pid, 0), syscall.ESRCH) }, patience, tick)
	}
	require.NoError(t, err, "%s", out)
}

// Every page of docs is reached by links that begin at README.md, which has at most 9 KiB.
func TestEveryPageIsReachedFromTheReadme(t *testing.T) {
	t.Parallel()
	require.LessOrEqual(t, len(textOf(t, "../../README.md")), 9<<10)
	reached := map[string]bool{"../../README.md": true}
	for follow := []string{"../../README.md"}; len(follow) > 0; follow = follow[1:] {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(textOf(t, follow[0]), ""), -1) {
			path, _, _ := strings.Cut(m[1], "#")
			target := filepath.Join(filepath.Dir(follow[0]), path)
			if strings.HasSuffix(path, ".md") && !strings.Contains(path, "://") && !reached[target] {
				reached[target] = true
				follow = append(follow, target)
			}
		}
	}
	pages, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	require.Greater(t, len(pages), 20)
	decisions, err := filepath.Glob("../../docs/adr/*.md")
	require.NoError(t, err)
	for _, page := range append(pages, decisions...) {
		assert.True(t, reached[page], "no link leads to %s", page)
	}
}

// goCall is a call of a package of ours in a document: `cache.Get[T](ctx, …)`, `m.Set(…)`.
var goCall = regexp.MustCompile("`?\\b([a-z]+)\\.([A-Z]\\w*)")

// Every Go function, method and type that guide-map.md names is in the code.
func TestTheGuidesMapNamesWhatIsThere(t *testing.T) {
	t.Parallel()
	receivers := map[string]string{"m": "cache", "store": "sessions", "locks": "lock", "limiter": "throttle", "lease": "lock", "runner": "jobs"}
	exported := map[string][]string{}
	names := 0
	for _, row := range strings.Split(textOf(t, "../../docs/guide-map.md"), "\n") {
		cells := strings.Split(row, "|")
		if len(cells) != 5 {
			continue
		}
		for _, m := range goCall.FindAllStringSubmatch(cells[2], -1) {
			pkg, name := m[1], m[2]
			if receivers[pkg] != "" {
				pkg = receivers[pkg]
			}
			if pkg == "redis" || pkg == "time" || pkg == "http" {
				continue
			}
			if exported[pkg] == nil {
				exported[pkg] = exportedNames(t, "../../"+pkg)
			}
			names++
			assert.Contains(t, exported[pkg], name, "%s.%s is not there: %s", pkg, name, row)
		}
	}
	require.Greater(t, names, 40)
}

// exportedNames returns the exported functions, methods, types and variables of a package.
func exportedNames(t *testing.T, folder string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files, folder)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, declaration := range parsed.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				names = append(names, d.Name.Name)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						names = append(names, s.Name.Name)
					case *ast.ValueSpec:
						for _, name := range s.Names {
							names = append(names, name.Name)
						}
					}
				}
			}
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return !ast.IsExported(name) })
}
