package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
)

func TestABanHoldsAtTheDoorAndForThoseWhoAreInside(t *testing.T) {
	t.Parallel()
	redis := redistest.Server(t)
	one, two := serve(t, "--redis", redis.URL(), "--dev"), serve(t, "--redis", redis.URL(), "--dev")
	here, there := one.connect(one.guest("ann")), two.connect(two.guest("ann"))
	bob := one.connect(one.guest("bob"))
	until := time.Now().Add(time.Hour)

	began := time.Now()
	require.Equal(t, "2", must(t, "user", "ban", "--redis", redis.URL(), "ann", "--for", "1h", "--reason", "Cheating."))
	for _, p := range []*player{here, there} {
		told := p.event("session:revoked")
		require.Equal(t, "BANNED", told["code"])
		require.Regexp(t, `^Cheating\. Until 20\d\d-.*Z\.$`, told["reason"])
		require.True(t, p.ended())
	}
	require.Less(t, time.Since(began), 5*time.Second)
	bob.ok("session:ping", "")

	a := do(t, "POST", two.public+"/auth/login", `{"username":"ann"}`)
	require.Equal(t, 403, a.status)
	require.Equal(t, "BANNED", a.problem(t))
	require.Equal(t, "Cheating.", a.json(t)["reason"])
	require.InDelta(t, until.UnixMilli(), a.json(t)["until"], 60_000)

	id := create(t, redis.URL(), "ann") // as another program may do
	refused := one.handshake(id).take("44", func(frame) bool { return true })
	require.Contains(t, string(refused.body), `"code":"BANNED"`)
	require.Contains(t, string(refused.body), `"reason":"Cheating."`)
	require.Contains(t, string(refused.body), `"until":`)
	a = do(t, "POST", one.public+"/chat/message", `{"channel":"global","text":"hi"}`, bearer(id)...)
	require.Equal(t, 403, a.status)
	require.Equal(t, "BANNED", a.problem(t))
	require.InDelta(t, time.Hour, redis.Client().PTTL(t.Context(), keys.UserBan("ann")).Val(), float64(time.Minute))

	must(t, "user", "unban", "--redis", redis.URL(), "ann")
	one.connect(id).ok("session:ping", "")
	_, _, code := command(t, "user", "unban", "--redis", redis.URL(), "ann")
	require.Equal(t, cli.ExitNo, code)
	_, _, code = command(t, "user", "ban", "--redis", redis.URL(), "ann", "--for", "0s")
	require.Equal(t, cli.ExitUsage, code)
}
