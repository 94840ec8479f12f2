package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// An emitter works with exactly the rights of docs/redis-acl.md, and without one row of them what
// its last column names fails.
func TestEachRightOfAnEmitterIsNeeded(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/redis-acl.md")
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(text), "\n## An emitter\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|[^|]*\\| ([^|]*) \\|$").FindAllStringSubmatch(section, -1)
	require.NotEmpty(t, rows)
	for without := -1; without < len(rows); without++ {
		name := "all rights"
		if without >= 0 {
			name = "without " + rows[without][1]
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := redistest.Server(t)
			args, fails := []any{"acl", "setuser", "emitter", "reset", "on", ">secret"}, ""
			for i, row := range rows {
				if i == without {
					fails = row[2]
					continue
				}
				for _, rule := range strings.Fields(row[1]) {
					args = append(args, rule)
				}
			}
			require.NoError(t, r.Client().Do(t.Context(), args...).Err())
			g, n := goNode(t, r.Addr()), nodeEmitter(t, "emitter:secret@"+r.Addr())
			a := g.client("red")
			n.op("em-emit", "room=red", "v=1")
			n.op("em-join", "room=red", "v=green")
			joined := func() bool {
				rooms, _ := g.op("rooms").([]any)
				for _, room := range rooms {
					if room == "green" {
						return true
					}
				}
				return false
			}
			switch fails {
			case "":
				expect(t, "an emit", []string{`42["ev","1",{"k":[1,true]}]`}, a)
				require.Eventually(t, joined, wiretest.Patience, 10*time.Millisecond)
			case "nothing is heard":
				refused(t, r)
				g.op("emit", "room=red", "v=2")
				expect(t, "only our own emit", []string{`42["ev","2",{"k":[1,true]}]`}, a)
			case "they do nothing":
				refused(t, r)
				expect(t, "an emit", []string{`42["ev","1",{"k":[1,true]}]`}, a)
				require.False(t, joined())
			default:
				t.Fatalf("the test knows no %q", fails)
			}
		})
	}
}

// refused waits until Redis has refused the emitter something.
func refused(t *testing.T, r *redistest.Instance) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, entry := range r.Client().ACLLog(t.Context(), 16).Val() {
			if entry.Object == "publish" || strings.HasPrefix(entry.Object, "socket.io") {
				return true
			}
		}
		return false
	}, wiretest.Patience, 10*time.Millisecond)
}
