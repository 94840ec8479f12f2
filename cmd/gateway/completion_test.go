package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// Each shell is offered the commands, the flags of the command that stands there, and the values of
// a flag that are known.
func TestCompletion(t *testing.T) {
	t.Parallel()
	script := must(t, "completion", "bash")
	complete := func(shell string, words ...string) []string {
		t.Helper()
		line := script + "\nCOMP_WORDS=(gateway"
		for _, w := range words {
			line += " '" + w + "'"
		}
		line += ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_gateway\nprintf '%s\\n' \"${COMPREPLY[@]}\""
		out, err := exec.CommandContext(t.Context(), shell, "-c", line).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.Fields(string(out))
	}
	require.ElementsMatch(t, []string{"session", "serve"}, complete("bash", "se"))
	require.Equal(t, []string{"revoke", "revoke-user"}, complete("bash", "session", "rev"))
	require.Equal(t, []string{"--reveal"}, complete("bash", "user", "show", "ann", "--rev"))
	require.Equal(t, []string{"debug"}, complete("bash", "serve", "--dev", "--log-level", "d"))
	require.Equal(t, []string{"typescript"}, complete("bash", "contract", "ty"))
	require.Empty(t, complete("bash", "serve", "--redis", "--"), "a value that is not known")
	require.Contains(t, complete("bash", "node", "drain", "-"), "--json")
	require.NotContains(t, complete("bash", ""), "--json")
	if _, err := exec.LookPath("zsh"); err == nil {
		out, err := exec.CommandContext(t.Context(), "zsh", "-n", "-c", must(t, "completion", "zsh")).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, completeInZsh(t, "session", "revoke-u"), "revoke-user")
		require.Contains(t, completeInZsh(t, "serve", "--log-level", "d"), "debug")
	}
	require.NotRegexp(t, `\b(words|current|prefix)=`, script, "zsh completes by them")
	fish := must(t, "completion", "fish")
	require.Contains(t, fish, "complete -c gateway -n '__fish_seen_subcommand_from user; and not __fish_seen_subcommand_from show ban unban' -a show -d")
	require.Contains(t, fish, "-l log-level -x -a 'debug info warn error'")
	if path, err := exec.LookPath("fish"); err == nil {
		cmd := exec.CommandContext(t.Context(), path, "--no-execute")
		cmd.Stdin = strings.NewReader(fish)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		cmd = exec.CommandContext(t.Context(), path, "--no-config")
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
		cmd.Stdin = strings.NewReader(fish + "\ncomplete -C 'gateway session revoke-u'\ncomplete -C 'gateway serve --log-level d'\n")
		out, err = cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Regexp(t, `^revoke-user\t[^\n]*\ndebug\t[^\n]*\n$`, string(out))
	}
	_, errs, code := command(t, "completion", "csh")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "bash")
}

// completeInZsh returns what zsh is offered for the last word, as zsh's bashcompinit calls the
// function: in the emulation of sh, with a file _gateway in $fpath.
func completeInZsh(t *testing.T, words ...string) string {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "_gateway"), []byte(must(t, "completion", "zsh")), 0o600))
	line := "fpath=(" + folder + " $fpath)\nautoload -Uz compinit && compinit -u -D\n[ \"${_comps[gateway]}\" = _gateway ] || exit 3\nsource " + folder + "/_gateway\n" +
		"ask() { emulate -L sh; setopt kshglob noshglob braceexpand nokshautoload; COMP_WORDS=(gateway '" + strings.Join(words, "' '") + "'); COMP_CWORD=" + strconv.Itoa(len(words)) + "; _gateway; echo \"${COMPREPLY[@]}\"; }\nask"
	out, err := exec.CommandContext(t.Context(), "zsh", "-f", "-c", line).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// The manual page has every command and every flag, and man finds nothing wrong with it.
func TestManualPage(t *testing.T) {
	t.Parallel()
	page := must(t, "man")
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		for _, f := range n.Flags {
			if f.Name != "help" && f.Name != "version" {
				require.Contains(t, page, strings.ReplaceAll("--"+f.Name, "-", `\-`))
			}
		}
		for _, c := range n.Children {
			require.Contains(t, page, strings.ReplaceAll(c.Name, "-", `\-`))
			visit(c)
		}
	}
	visit(model(t).Node)
	for _, words := range leafCommands(model(t).Node) {
		require.Contains(t, page, ".SS gateway "+strings.ReplaceAll(words, "-", `\-`))
	}
	if path, err := exec.LookPath("groff"); err == nil {
		cmd := exec.CommandContext(t.Context(), path, "-man", "-ww", "-z", "-Tutf8")
		cmd.Stdin = strings.NewReader(page)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err)
		require.Empty(t, string(out))
	}
}
