package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// A gateway whose Redis user may not lock on a majority of --lock-redis is not ready, names the
// server, the right and the ACL line, and is ready again when the line was run. One server of three
// is named only: two are a majority.
func TestAMissingRightOfALockServerIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ without, rules []string }{
		"scripts":  {[]string{"-@scripting"}, []string{"+eval", "+evalsha"}},
		"channels": {[]string{"resetchannels"}, []string{"&lock:releases"}},
		"TIME":     {[]string{"-time"}, []string{"+time"}},
		"keys":     {[]string{"resetkeys"}, []string{"~lock:*", "~{lock:*"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"--redis", redistest.URL(t), "--dev"}
			var servers [3]*redistest.Instance
			for i := range servers {
				servers[i] = redistest.Server(t)
				setRules(t, servers[i].Client(), "game", "on", ">secret", "~*", "&*", "+@all")
				args = append(args, "--lock-redis", "redis://game:secret@"+servers[i].Addr())
			}
			forbid := func(i int) { setRules(t, servers[i].Client(), "game", c.without...) }
			line := "ACL SETUSER game " + strings.Join(c.rules, " ")
			grant := func(i int) {
				require.NoError(t, servers[i].Client().Do(t.Context(), anySlice(strings.Fields(line))...).Err())
			}
			forbid(0)
			forbid(1)
			g := serve(t, args...)

			a := do(t, "GET", g.public+"/health/ready", "") // from the first answer on
			require.Equal(t, http.StatusServiceUnavailable, a.status)
			require.Equal(t, map[string]any{"status": "locks forbidden"}, a.json(t))
			a = do(t, "GET", g.admin+"/health/ready", "")
			require.Equal(t, http.StatusServiceUnavailable, a.status)
			missing := a.json(t)["error"].(string)
			for i, s := range servers {
				require.Equal(t, i < 2, strings.Contains(missing, s.Addr()+": missing rights: "+strings.Join(c.rules, " ")), missing)
			}
			require.NotContains(t, missing, "secret")
			require.Equal(t, 2, strings.Count(g.err.String(), line))
			require.NotContains(t, g.err.String(), "game:secret")
			require.Contains(t, string(do(t, "GET", g.admin+"/metrics", "").body), `gateway_lock_servers{state="forbidden"} 2`)

			grant(0)
			g.status(g.public+"/health/ready", 200, soon)
			require.Equal(t, "up", do(t, "GET", g.admin+"/health/redis", "").json(t)["status"])

			forbid(2)
			g.status(g.public+"/health/ready", 503, 3*soon) // within five seconds, as long as nothing fails
			grant(1)
			g.status(g.public+"/health/ready", 200, soon) // one server lacks it
			require.Eventually(t, func() bool { return strings.Count(g.err.String(), line) == 3 }, patience, tick)
		})
	}
}
