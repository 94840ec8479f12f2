package throttle

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/once/record"
	"github.com/aeturnis/realtime/internal/redistest"
)

// One script looks at the record, spends and claims: what the record answers spends nothing, what
// the limit refuses claims nothing, and what is admitted is claimed.
func TestSpendOnce(t *testing.T) {
	t.Parallel()
	for name, isCluster := range map[string]bool{"one server": false, "a Cluster": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testSpendOnce(t, isCluster)
		})
	}
}

func testSpendOnce(t *testing.T, isCluster bool) {
	rdb := redistest.Client(t)
	policies := []Policy{{Name: "one", Limit: 2, Window: time.Minute, Scope: ByUser}, {Name: "two", Limit: 50, Window: time.Minute, Scope: ByUser, Cost: 2}}
	l, err := New(rdb, policies, Config{Budget: 10 * time.Second, Cluster: isCluster})
	require.NoError(t, err)
	defer l.Close()
	look := func(key, token string) record.Look {
		return record.Look{Key: "once:" + key, Token: token, Digest: "0123456789abcdef", Keep: time.Minute, Hold: time.Minute}
	}
	spend := func(names []string, at record.Look) (Decision, record.Found) {
		d, found, err := l.SpendOnce(t.Context(), names, Subject{User: "ann"}, at)
		require.NoError(t, err)
		return d, found
	}
	both := []string{"one", "two"}
	d, found := spend(both, look("a", "t1"))
	require.Equal(t, record.Claimed, found.State)
	require.True(t, d.Allowed)
	require.Equal(t, 1, d.Remaining)
	_, found = spend(both, look("a", "t1"))
	require.Equal(t, record.Mine, found.State)
	_, found = spend(both, look("a", "t2"))
	require.Equal(t, record.Held, found.State)
	require.InDelta(t, time.Minute.Milliseconds(), found.Left.Milliseconds(), 20_000)
	other := look("a", "t2")
	other.Digest = "another payload."
	_, found = spend([]string{"one"}, other)
	require.Equal(t, record.Conflict, found.State)

	d, found = spend([]string{"one"}, look("b", "t3"))
	require.Equal(t, record.Claimed, found.State)
	require.Zero(t, d.Remaining, "only what was claimed was spent")
	for range 2 { // the second time, the refusal is remembered; the record is looked for nevertheless
		d, found = spend(both, look("c", "t4"))
		require.False(t, d.Allowed)
		require.Equal(t, "one", d.Policy)
		require.Equal(t, record.Missing, found.State)
		require.Zero(t, rdb.Exists(t.Context(), "once:c").Val())
	}
	require.NoError(t, rdb.Set(t.Context(), "once:c", `A0123456789abcdef+{"n":1}`, time.Minute).Err())
	d, found = spend(both, look("c", "t5"))
	require.Equal(t, record.Found{State: record.Answered, Answer: `+{"n":1}`}, found)
	require.Empty(t, d)
	d, err = l.Spend(t.Context(), []string{"two"}, Subject{User: "ann"})
	require.NoError(t, err)
	require.Equal(t, 46, d.Remaining)
	if isCluster {
		return
	}
	unclaimed := look("d", "t6")
	unclaimed.Unclaimed = true
	for remaining := 44; remaining > 40; remaining -= 2 {
		d, found = spend([]string{"two"}, unclaimed)
		require.Equal(t, record.Missing, found.State)
		require.Equal(t, remaining, d.Remaining)
		require.Zero(t, rdb.Exists(t.Context(), "once:d").Val())
	}
	require.NoError(t, rdb.Set(t.Context(), "once:d", record.DoneText("0123456789abcdef", "ref"), time.Minute).Err())
	d, found = spend([]string{"two"}, unclaimed)
	require.Equal(t, record.Unkept, found.State)
	require.Empty(t, d)
}

// Many events share a command, those with a key too, and each gets its own answer.
func TestSpendOnceTogether(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	l, err := New(rdb, []Policy{{Name: "one", Limit: 100, Window: time.Minute, Scope: ByUser}}, Config{Budget: 10 * time.Second})
	require.NoError(t, err)
	defer l.Close()
	const events = 400
	states, allowed := make([]record.State, events), make([]bool, events)
	var wg sync.WaitGroup
	for i := range events {
		wg.Go(func() {
			look := record.Look{Key: fmt.Sprint("once:", i/2), Token: fmt.Sprint(i), Digest: "0123456789abcdef", Keep: time.Minute, Hold: time.Minute}
			d, found, err := l.SpendOnce(context.Background(), []string{"one"}, Subject{User: fmt.Sprint("u", i/4)}, look)
			if err == nil {
				states[i], allowed[i] = found.State, d.Allowed
			}
		})
	}
	wg.Wait()
	for i := 0; i < events; i += 2 {
		require.ElementsMatch(t, []record.State{record.Claimed, record.Held}, states[i:i+2])
		require.NotEqual(t, allowed[i], allowed[i+1], "one of the two was charged")
	}
}

// While Redis is away the caller is told that nobody looked.
func TestSpendOnceWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	l, err := New(server.Client(), []Policy{{Name: "one", Limit: 2, Window: time.Minute, Scope: ByUser}, {Name: "off", Scope: ByUser}}, Config{})
	require.NoError(t, err)
	defer l.Close()
	look := record.Look{Key: "once:a", Token: "t", Digest: "0123456789abcdef", Keep: time.Minute, Hold: time.Minute}
	d, found, err := l.SpendOnce(t.Context(), []string{"off"}, Subject{User: "ann"}, look)
	require.NoError(t, err)
	require.True(t, d.Allowed)
	require.Equal(t, record.NotLooked, found.State, "nothing limits it, so Redis was not asked")
	server.Kill()
	for i := range 3 {
		d, found, err = l.SpendOnce(t.Context(), []string{"one"}, Subject{User: "ann"}, look)
		require.NoError(t, err)
		require.Equal(t, i < 2, d.Allowed)
		require.Equal(t, record.NotLooked, found.State)
	}
}
