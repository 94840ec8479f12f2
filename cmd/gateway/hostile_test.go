package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// Whatever a handshake carries: it is refused, or its connection is closed, and the others are
// served.
func TestHostileHandshakes(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	g := serve(t, "--redis", url, "--limit", "connect=off")
	id := create(t, url, "ann")
	bystander := g.connect(id)
	const required, invalid, closed = "SESSION_REQUIRED", "SESSION_INVALID", ""
	for name, c := range map[string]struct{ packet, want string }{
		"nothing":             {`40`, required},
		"null":                {`40null`, closed},
		"a number":            {`407`, closed},
		"a text":              {`40"` + id + `"`, closed},
		"a list":              {`40["` + id + `"]`, closed},
		"an empty object":     {`40{}`, required},
		"an id of null":       {`40{"sessionId":null}`, required},
		"a number for an id":  {`40{"sessionId":7}`, invalid},
		"a boolean":           {`40{"sessionId":true}`, invalid},
		"a list for an id":    {`40{"sessionId":["` + id + `"]}`, invalid},
		"an object for an id": {`40{"sessionId":{"$gt":""}}`, invalid},
		"NUL behind the id":   {`40{"sessionId":"` + id + `\u0000"}`, invalid},
		"a raw NUL":           {"40{\"sessionId\":\"" + id + "\x00\"}", closed},
		"a key of Redis":      {`40{"sessionId":"*"}`, invalid},
		"two keys of Redis":   {`40{"sessionId":"` + id + ` x"}`, invalid},
		"a line break":        {`40{"sessionId":"` + id + `\r\nDEL x"}`, invalid},
		"another's form":      {`40{"sessionId":"express:` + id + `"}`, invalid},
		"the id twice":        {`40{"sessionId":"x","sessionId":"` + id + `"}`, invalid},
		"an id of 129":        {`40{"sessionId":"` + strings.Repeat("x", 129) + `"}`, invalid},
		"an id of 60 KB":      {`40{"sessionId":"` + strings.Repeat("x", 60<<10) + `"}`, invalid},
		"an id of 100 KB":     {`40{"sessionId":"` + strings.Repeat("x", 100<<10) + `"}`, closed},
		"900 KB beside it":    {`40{"sessionId":"` + id + `","x":"` + strings.Repeat("x", 900<<10) + `"}`, closed},
		"1 MB":                {`40{"sessionId":"` + id + `","x":"` + strings.Repeat("x", 1<<20) + `"}`, closed},
		"nested":              {`40{"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, closed},
		"not closed":          {`40{"sessionId":"` + id, closed},
		"no UTF-8":            {"40{\"sessionId\":\"\xff\xfe\"}", closed},
		"another namespace":   {`40/admin,{"sessionId":"` + id + `"}`, "Invalid namespace"},
	} {
		p, _, err := dial(t, g)
		require.NoError(t, err)
		p.send(c.packet)
		var refusal struct {
			Message string
			Data    struct{ Code string }
		}
		require.Eventually(t, func() bool {
			f, ok := p.look("44", func(frame) bool { return true })
			if ok {
				body := string(f.body)
				require.NoError(t, json.Unmarshal([]byte(body[strings.IndexByte(body, '{'):]), &refusal), name)
			}
			return ok || !p.open()
		}, patience, tick, name)
		if c.want == "Invalid namespace" {
			require.Equal(t, c.want, refusal.Message, name)
		} else {
			require.Equal(t, c.want, refusal.Data.Code, name)
		}
		_, let := p.look("40", func(frame) bool { return true })
		require.False(t, let, name)
	}
	bystander.ok("session:ping", "")
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, do(t, "GET", g.public+"/socket.io/?EIO=4&transport=polling", "", "Authorization", "Bearer "+strings.Repeat("x", 64<<10)).status)
}

func TestTenThousandBadIDs(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	g := serve(t, "--redis", url, "--limit", "connect=off", "--log-level", "error")
	bystander := g.connect(create(t, url, "ann"))
	before := runtime.NumGoroutine()
	const connections, each = 160, 63 // a connection may ask 64 times
	refused := 0
	for i := range connections {
		p, _, err := dial(t, g)
		require.NoError(t, err)
		for j := range each {
			p.send(fmt.Sprintf(`40{"sessionId":"guess-%d-%d"}`, i, j))
		}
		got := 0
		require.Eventually(t, func() bool {
			for {
				f, ok := p.look("44", func(frame) bool { return true })
				if !ok {
					return got == each
				}
				require.Contains(t, string(f.body), `"SESSION_INVALID"`)
				got++
			}
		}, patience, tick)
		refused += got
		require.NoError(t, p.conn.Close())
	}
	require.Greater(t, refused, 10_000)
	bystander.ok("session:ping", "")
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < before+400 }, patience, tick, "nothing stays of them") // other tests run beside it
}
