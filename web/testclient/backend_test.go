package testclient

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// realBackend: the events of the example in Node are in the send box, and served by it.
func realBackend(t *testing.T, s server, browser context.Context) {
	folder := t.TempDir()
	secret, config := filepath.Join(folder, "secret"), filepath.Join(folder, "gateway.yaml")
	require.NoError(t, os.WriteFile(secret, []byte("a secret of the examples\n"), 0o600))
	backend := exec.CommandContext(t.Context(), "node", "../../examples/backends/node/quests.mjs", "--port", "0", "--secret-file", secret)
	out, err := backend.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, backend.Start())
	t.Cleanup(func() { _ = backend.Wait() }) // the test's end has killed it
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	var port int
	_, err = fmt.Sscanf(line, "listening on %d", &port)
	require.NoError(t, err, line)
	settings, err := os.ReadFile("../../examples/backends/gateway.yaml")
	require.NoError(t, err)
	schema, err := filepath.Abs("../../examples/backends/quests.schema.json")
	require.NoError(t, err)
	text := strings.NewReplacer(":9000", fmt.Sprint(":", port), "quests.schema.json", schema, "secret-file: secret", "secret-file: "+secret).Replace(string(settings))
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	g := server{redis: redistest.Server(t).URL(), binary: s.binary}.start(t, "--dev", "--config", config)

	p := open(t, browser, g.url, 1280, 720)
	p.login("quest-lover")
	p.run(chromedp.SetValue(p.sel("send-event"), "quest:accept"))
	p.eval(`document.querySelector('[data-testid=send-event]').dispatchEvent(new Event('change', {bubbles: true}))`)
	p.says("send-about", "Accepts a quest.")
	p.has("send-payload", `JSON.parse(n.value).questId === ''`)
	p.write("send-payload", `{"questId":7}`)
	p.says("send-problem", "questId: a text is expected")
	p.click("send")
	p.says("send-outcome", "INVALID: ")
	p.write("send-payload", `{"questId":"dragon"}`)
	p.click("send")
	p.has("send-outcome", `n.textContent.startsWith('ok ') && n.textContent.includes('"questId":"dragon"')`)
	p.is(`document.querySelector('[data-testid=event][data-event="quest:accepted"]')`) // what the backend cast
}
