package main

import (
	"io"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
)

// BenchmarkServerAPICasts measures casts to a user who is connected, over HTTP and a real Redis:
// singly, by 128 programs at a time, and in batches of 100, by 4 for each core. The CPU time is
// that of this process: of the gateway, of the programs that call, and of the player.
func BenchmarkServerAPICasts(b *testing.B) {
	f := newAPIFile(b)
	key := f.add("--name", "shop", "--scope", "cast")
	g := serveAPI(b, f, "--redis", redistest.URL(b), "--dev")
	g.connect(g.guest("ann"))
	root := g.api(key).root
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}
	cast := `{"userId":"ann","event":"quest:done","data":{"id":7}}`
	entry := `{"call":"cast","body":` + cast + `}`
	for _, c := range []struct {
		name, path, body string
		casts, callers   int // callers for each core
	}{
		{"singly", "cast", cast, 1, 128 / runtime.GOMAXPROCS(0)},
		{"batches of 100", "batch", `{"calls":[` + strings.Repeat(entry+",", 99) + entry + `]}`, 100, 4},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetParallelism(c.callers)
			begun, before := time.Now(), cpuTime(b)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r, err := http.NewRequest(http.MethodPost, root+c.path, strings.NewReader(c.body))
					require.NoError(b, err)
					r.Header.Set("Authorization", "Bearer "+key)
					answer, err := client.Do(r)
					require.NoError(b, err)
					text, err := io.ReadAll(answer.Body)
					require.NoError(b, err)
					require.NoError(b, answer.Body.Close())
					if answer.StatusCode != http.StatusOK || strings.Contains(string(text), `"error"`) {
						b.Errorf("%d %.300s", answer.StatusCode, text)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N*c.casts)/time.Since(begun).Seconds(), "casts/s")
			b.ReportMetric(float64(b.N*c.casts)/(cpuTime(b)-before).Seconds(), "casts/CPU-s")
		})
	}
}

// cpuTime returns the CPU time that this process has taken.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
