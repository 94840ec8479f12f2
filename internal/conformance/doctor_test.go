package main

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
	"github.com/aeturnis/realtime/server"
)

// TestDoctorFindsAdaptersThatDoNotHearUs runs real Node servers with each adapter of Socket.IO:
// what the classic one casts is heard, and of each other one, whose casts are lost without a word,
// `gateway doctor` says so.
func TestDoctorFindsAdaptersThatDoNotHearUs(t *testing.T) {
	t.Parallel()
	for kind, c := range map[string]struct{ verdict, says string }{
		"":        {server.DiagnosisOK, "all Socket.IO servers on this Redis have the prefix socket.io"},
		"other":   {server.DiagnosisWarn, `prefix "elsewhere"`},
		"sharded": {server.DiagnosisFail, `sharded adapter (prefix "socket.io")`},
		"streams": {server.DiagnosisFail, `@socket.io/redis-streams-adapter (prefix "socket.io")`},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			redis := redistest.Server(t)
			address, err := url.Parse(redis.URL())
			require.NoError(t, err)
			ours := goNode(t, address.Host)
			heard := ours.client("raid")
			args := []string{address.Host}
			if kind != "" {
				args = append(args, kind)
			}
			other := startNode(t, args...)
			require.Eventually(t, func() bool { // nothing needs to have been cast for it
				for _, d := range server.Diagnose(t.Context(), server.Config{RedisURL: redis.URL()}) {
					if d.Name == "adapters" && d.Verdict == c.verdict {
						require.Contains(t, d.Text, c.says)
						return true
					}
				}
				return false
			}, wiretest.Patience, 50*time.Millisecond)
			if kind != "" {
				require.NotContains(t, verdictsOfAdapters(t, redis.URL()), server.DiagnosisOK)
				other.op("emit", "room=raid", "v=lost")
			} else {
				require.Equal(t, []string{server.DiagnosisOK}, verdictsOfAdapters(t, redis.URL()))
				other.op("emit", "room=raid", "v=heard")
				require.Equal(t, `42["ev","heard",{"k":[1,true]}]`, heard.Read())
			}
			ours.op("emit", "room=raid", "v=last")
			require.Equal(t, `42["ev","last",{"k":[1,true]}]`, heard.Read(), "what the other said was not heard")
		})
	}
}

// verdictsOfAdapters returns what doctor thinks of the adapters beside a gateway.
func verdictsOfAdapters(t *testing.T, redis string) (verdicts []string) {
	t.Helper()
	for _, d := range server.Diagnose(t.Context(), server.Config{RedisURL: redis}) {
		if d.Name == "adapters" {
			verdicts = append(verdicts, d.Verdict)
		}
	}
	return verdicts
}
