package trade_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/lock"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/trade"
)

// What a gift of one item costs Redis: commands of its own, commands that all gifts of one script
// call share, and bytes of its keys and arguments. docs/performance.md has these numbers.
const (
	commandsOfAGift = 6 // ZRANGE, HMGET (the receiver's session), two HINCRBY, SET, XADD
	commandsOfACall = 4 // HMGET (the ledger's index), EXISTS (locks and records), TIME, HSET (the index)
	bytesOfAGift    = 565
)

// sentBytes counts the bytes that are sent to Redis.
type sentBytes struct{ n atomic.Int64 }

type countedConn struct {
	net.Conn
	sent *sentBytes
}

func (c countedConn) Write(b []byte) (int, error) {
	c.sent.n.Add(int64(len(b)))
	return c.Conn.Write(b)
}

func (s *sentBytes) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		return countedConn{conn, s}, err
	}
}

func (*sentBytes) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (*sentBytes) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A gift costs Redis few commands and few bytes, alone and among many.
func TestWhatAGiftCostsRedis(t *testing.T) {
	t.Parallel()
	rdb := redistest.Server(t).Client()
	sent := &sentBytes{}
	rdb.(*redis.Client).AddHook(sent)
	locks := lock.New(lock.Config{}, rdb)
	t.Cleanup(locks.Close)
	store := sessions.New(rdb, sessions.Config{})
	s := trade.New(rdb, managed{Manager: locks}, store, &casts{}, trade.Config{})
	const pairs = 100
	giver := func(i int) event.Player {
		return event.Player{UserID: fmt.Sprintf("giver-user-%03d", i), CharacterID: fmt.Sprintf("giver-char-%03d", i)}
	}
	receiver := func(i int) string { return fmt.Sprintf("taker-user-%03d", i) }
	give := func(key string, i int) error {
		p := giver(i)
		claim := &event.Claim{
			Request: event.Request{Key: key, Digest: "0123456789abcdef"}, Record: keys.Once("trade:execute", "", p.UserID, key),
			Token: strings.Repeat("t", 20), Keep: time.Hour,
		}
		_, err := s.Execute(event.WithClaim(t.Context(), claim), p, gift(receiver(i), key, 0, some("sword-of-the-north", 1)))
		return err
	}
	for i := range pairs {
		_, err := s.Mint(t.Context(), trade.MintRequest{CharacterID: giver(i).CharacterID, Items: []trade.Line{some("sword-of-the-north", 9)}})
		require.NoError(t, err)
		_, err = store.Create(t.Context(), receiver(i), "Taker", nil, sessions.Options{CharacterID: fmt.Sprintf("taker-char-%03d", i)})
		require.NoError(t, err)
		require.NoError(t, give("first", i), "the receiver's character becomes known")
	}
	cost := func(gifts int, giveAll func()) {
		t.Helper()
		require.NoError(t, rdb.ConfigResetStat(t.Context()).Err())
		before := sent.n.Load()
		giveAll()
		bytes := int(sent.n.Load() - before)
		counts, all := commandCounts(t, rdb), 0
		calls := counts["evalsha"] + counts["eval"]
		for name, n := range counts {
			switch name {
			case "evalsha", "eval", "config|resetstat", "info", "hello", "client|setinfo": // not of the scripts
			default:
				all += n
			}
		}
		require.LessOrEqual(t, all, commandsOfAGift*gifts+commandsOfACall*calls, "%v", counts)
		if counts["eval"] == 0 { // else the server was sent a script that it did not know
			require.LessOrEqual(t, bytes, bytesOfAGift*gifts+100*calls+500, "with a connection that is new")
		}
		t.Logf("%d gifts in %d calls: %d commands, %d bytes", gifts, calls, all, bytes)
	}
	cost(1, func() { require.NoError(t, give("alone", 0)) })
	together := func(key string) {
		var wg sync.WaitGroup
		for i := range pairs {
			wg.Go(func() {
				if err := give(key, i); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	together("learns") // the server learns the scripts
	cost(pairs, func() { together("together") })
	report, err := s.Audit(t.Context())
	require.NoError(t, err)
	require.True(t, report.Clean())
	require.EqualValues(t, 3*pairs+1, report.Trades)
}
