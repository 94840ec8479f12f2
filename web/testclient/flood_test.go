package testclient

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/cdproto/tracing"
	"github.com/chromedp/chromedp"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"
)

// TestAFloodOfEvents shows that the page draws what can be read and no more: each event costs at
// most 1 ms of CPU of the main thread, no task takes more than 100 ms of CPU, memory stays, and the
// newest message is on the screen when the flood ends. Thread time is measured, because other
// programs slow down the clock's time; it runs alone, because they take the caches as well. Floods
// last 30 s with CHAOS=1, else 6 s.
func TestAFloodOfEvents(t *testing.T) {
	length := 6 * time.Second
	if os.Getenv("CHAOS") != "" {
		length = 30 * time.Second
	}
	s, browser := serve(t), chromium(t)
	for _, perSecond := range []int{60, 1000} {
		t.Run(fmt.Sprintf("%d events a second", perSecond), func(t *testing.T) {
			p := open(t, browser, s.url, 1440, 900)
			p.login("flo")
			p.flood(t, s, "warm", 200, 2*time.Second) // compiles the scripts, fills the lists

			p.run(call(performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks}))
			idle := p.measure()
			<-time.After(3 * time.Second) // what the page costs by itself: clocks, and this test's own commands
			before := p.measure()
			atRest := (before["TaskDuration"] - idle["TaskDuration"]) / (before["Timestamp"] - idle["Timestamp"])
			longest := p.trace(func() { p.flood(t, s, "flood", perSecond, length) })
			after := p.measure()

			events := float64(perSecond) * length.Seconds()
			seconds := after["Timestamp"] - before["Timestamp"]
			cpu := (after["TaskDuration"] - before["TaskDuration"] - atRest*seconds) * 1000 / events
			t.Logf("%.0f events: %.3f ms of CPU each, besides %.0f ms a second at rest (script %.3f, layout %.3f, style %.3f), the longest task %.1f ms, heap %.1f to %.1f MB, nodes %.0f to %.0f",
				events, cpu, atRest*1000, (after["ScriptDuration"]-before["ScriptDuration"])*1000/events, (after["LayoutDuration"]-before["LayoutDuration"])*1000/events,
				(after["RecalcStyleDuration"]-before["RecalcStyleDuration"])*1000/events, longest, before["JSHeapUsedSize"]/1e6, after["JSHeapUsedSize"]/1e6, before["Nodes"], after["Nodes"])
			require.Less(t, cpu, 1.0, "ms of CPU per event")
			require.Less(t, longest, 100.0, "ms of CPU in one task")
			require.Less(t, after["JSHeapUsedSize"]-before["JSHeapUsedSize"], 2e6, "bytes that stay")
			require.Less(t, after["Nodes"], before["Nodes"]+200, "nodes that stay")
			if perSecond == 1000 {
				p.says("chat-undrawn", "not drawn")
				p.says("event-count", "not drawn")
			}
			p.click("logout")
		})
	}
}

// flood casts so many messages to the page's channel and waits until the last one is in sight.
func (p tab) flood(t *testing.T, s server, name string, perSecond int, length time.Duration) {
	t.Helper()
	castMessages(t, s, name, perSecond, length)
	last := int(length.Seconds()*float64(perSecond)) - 1
	p.is(fmt.Sprintf(`(() => {
		const list = document.querySelector('.messages').getBoundingClientRect();
		return [...document.querySelectorAll('[data-testid=message]')].some((n) => {
			const { top, bottom } = n.getBoundingClientRect();
			return n.textContent.includes(%q) && top >= list.top && bottom <= list.bottom;
		});
	})()`, fmt.Sprintf("%s %d, the end", name, last)))
	p.is(fmt.Sprintf(`document.querySelector('[data-testid=event] .body').textContent.includes(%q)`, fmt.Sprintf("%s %d,", name, last)))
}

// castMessages casts messages evenly, as another server of the cluster does.
func castMessages(t *testing.T, s server, name string, perSecond int, length time.Duration) {
	t.Helper()
	options, err := redis.ParseURL(s.redis)
	require.NoError(t, err)
	client := redis.NewClient(options)
	defer func() { require.NoError(t, client.Close()) }()
	const step = 50 * time.Millisecond
	total := int(length.Seconds() * float64(perSecond))
	beat := time.NewTicker(step)
	defer beat.Stop()
	sent := 0
	for begun := time.Now(); sent < total; <-beat.C {
		pipe := client.Pipeline()
		for due := min(total, int(time.Since(begun).Seconds()*float64(perSecond))+1); sent < due; sent++ {
			pipe.Publish(t.Context(), "socket.io#/#chat:global#", packMessage(t, name, sent))
		}
		_, err := pipe.Exec(t.Context())
		require.NoError(t, err)
	}
}

// packMessage returns a message as @socket.io/redis-adapter publishes it.
func packMessage(t *testing.T, name string, i int) []byte {
	t.Helper()
	b, err := msgpack.Marshal([]any{"abcdef", map[string]any{
		"type": 2,
		"nsp":  "/",
		"data": []any{"chat:message", map[string]any{
			"id": fmt.Sprintf("%s-%d", name, i), "channel": "global", "at": time.Now().UnixMilli(),
			"text": fmt.Sprintf("%s %d, the end of which is here: %s", name, i, "a sentence as people write them in chats."),
			"from": map[string]any{"userId": fmt.Sprintf("npc-%d", i%7), "username": fmt.Sprintf("npc %d", i%7), "characterId": ""},
		}},
	}, map[string]any{"rooms": []string{"chat:global"}, "except": []string{}, "flags": map[string]any{}}})
	require.NoError(t, err)
	return b
}

// measure returns the browser's own counts of the page, after a collection of garbage.
func (p tab) measure() map[string]float64 {
	p.t.Helper()
	counts := map[string]float64{}
	p.run(call(heapprofiler.CollectGarbage, cdp.Empty{}), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		got, err := cdp.Call(ctx, t, performance.GetMetrics, cdp.Empty{})
		for _, m := range got.Metrics {
			counts[m.Name] = m.Value
		}
		return err
	}))
	return counts
}

// trace returns the CPU of the longest task of the main thread while f runs, in ms.
func (p tab) trace(f func()) float64 {
	p.t.Helper()
	var mu sync.Mutex
	longest := 0.0
	main := map[string]bool{} // threads, by process and id
	tasks := map[string]float64{}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	require.NoError(p.t, chromedp.Listen(ctx, func(e any) {
		switch e := e.(type) {
		case *tracing.EventDataCollected:
			mu.Lock()
			defer mu.Unlock()
			for _, v := range e.Value {
				var task struct {
					Name string  `json:"name"`
					Pid  int     `json:"pid"`
					Tid  int     `json:"tid"`
					CPU  float64 `json:"tdur"` // microseconds
					Args struct {
						Name string `json:"name"`
					} `json:"args"`
				}
				if json.Unmarshal(v, &task) != nil {
					continue
				}
				thread := fmt.Sprint(task.Pid, " ", task.Tid)
				if task.Name == "thread_name" && task.Args.Name == "CrRendererMain" {
					main[thread] = true
				}
				tasks[thread] = max(tasks[thread], task.CPU/1000)
			}
		case *tracing.EventTracingComplete:
			close(done)
		}
	}))
	p.run(call(tracing.Start, tracing.StartParams{TraceConfig: &tracing.TraceConfig{IncludedCategories: []string{"toplevel"}}}))
	f()
	p.run(call(tracing.End, cdp.Empty{}))
	<-done
	for thread, ms := range tasks {
		if main[thread] {
			longest = max(longest, ms)
		}
	}
	require.NotZero(p.t, longest, "the trace has no tasks")
	return longest
}
