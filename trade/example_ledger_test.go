package trade_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/trade"
)

// copyLedger copies what is new in the ledger into a file, exactly once, as one consumer of a
// group. Redis delivers an entry again until it is acknowledged; the file says which came last, so
// one that was written before its acknowledgement was lost is skipped. It returns when nothing new
// is there.
func copyLedger(ctx context.Context, rdb redis.UniversalClient, group, path string) error {
	err := rdb.XGroupCreateMkStream(ctx, keys.TradeLedger, group, "0").Err()
	if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	last, whole := "0-0", int64(0) // the newest entry in the file; what follows its line was cut off by a crash
	for lines := bufio.NewReader(f); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		last, _, _ = strings.Cut(line, " ")
		whole += int64(len(line))
	}
	if err := f.Truncate(whole); err != nil {
		return err
	}
	for _, from := range []string{"0", ">"} { // what we took and did not acknowledge, then what is new
		for {
			got, err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
				Group: group, Consumer: "copier", Streams: []string{keys.TradeLedger, from}, Count: 100, Block: -1,
			}).Result()
			if err == redis.Nil || err == nil && len(got[0].Messages) == 0 {
				break
			}
			if err != nil {
				return err
			}
			var ids []string
			for _, m := range got[0].Messages {
				ids = append(ids, m.ID)
				if later(m.ID, last) {
					if _, err := fmt.Fprintln(f, m.ID, m.Values["kind"], m.Values["ref"], m.Values["body"]); err != nil {
						return err
					}
					last = m.ID
				}
			}
			if err := f.Sync(); err != nil { // on disk before it is acknowledged
				return err
			}
			if err := rdb.XAck(ctx, keys.TradeLedger, group, ids...).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// later compares stream ids: "<ms>-<n>".
func later(a, b string) bool {
	var am, an, bm, bn int64
	_, _ = fmt.Sscanf(a, "%d-%d", &am, &an)
	_, _ = fmt.Sscanf(b, "%d-%d", &bm, &bn)
	return am > bm || am == bm && an > bn
}

// Another program reads the ledger with a consumer group: copyLedger is all it takes.
func Example_ledger() {
	server, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	defer server.Close()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	ctx := context.Background()
	s := trade.New(rdb, open{}, players, &casts{}, trade.Config{})
	_, _ = s.Mint(ctx, grant("anna", "apple", 5, 0))
	_, _ = s.Execute(ctx, ann, gift("bob", "k", 0, some("apple", 2)))

	dir, err := os.MkdirTemp("", "ledger")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "ledger.txt")
	fmt.Println(copyLedger(ctx, rdb, "archive", path), copyLedger(ctx, rdb, "archive", path))
	b, _ := os.ReadFile(path)
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		words := strings.SplitN(line, " ", 4)
		fmt.Println(words[1], words[3])
	}
	// Output:
	// <nil> <nil>
	// mint {"moves":[{"to":"anna","items":[{"itemId":"apple","qty":5}],"gold":0}]}
	// gift {"moves":[{"fromUser":"ann","from":"anna","toUser":"bob","to":"bobo","items":[{"itemId":"apple","qty":2}],"gold":0}]}
}

// The copier dies at each of its commands in turn, before and after it, and in the middle of a
// line.
func TestTheLedgerIsCopiedExactlyOnce(t *testing.T) {
	t.Parallel()
	w := newTown(t, redistest.Client(t))
	path := filepath.Join(t.TempDir(), "ledger.txt")
	want := 0
	for n := int64(1); n <= 12; n++ {
		for _, after := range []bool{false, true} {
			w.mint("anna", "apple", n, 0)
			want++
			o := *w.rdb.(*redis.Client).Options()
			o.MaxRetries = -1
			doomed := redis.NewClient(&o)
			require.NoError(t, doomed.Ping(t.Context()).Err())
			doomed.AddHook(&blow{at: n, after: after, dies: true, reached: make(chan struct{})})
			_ = copyLedger(t.Context(), doomed, "archive", path)
			_ = doomed.Close()
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
			require.NoError(t, err)
			_, _ = f.WriteString("1795409785245-0 half a li")
			_ = f.Close()
		}
	}
	require.NoError(t, copyLedger(t.Context(), w.rdb, "archive", path))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	require.Len(t, lines, want)
	entries, err := w.Ledger(t.Context(), "", 1000)
	require.NoError(t, err)
	for i, e := range entries {
		require.True(t, strings.HasPrefix(lines[i], e.StreamID+" mint "+e.Ref+" "), lines[i])
	}
	require.Zero(t, w.rdb.XPending(t.Context(), keys.TradeLedger, "archive").Val().Count)
}
