package trade_test

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/trade"
)

// plant is a hook that runs scripts with a bug in place of scripts, which it finds by their hash.
type plant map[string]string

func newPlant(t *testing.T, s *trade.Service, script, line, wrong string) plant {
	p := plant{}
	for _, source := range s.Sources(script) {
		require.Equal(t, 1, strings.Count(source, line), "the line that is to be wrong")
		sum := sha1.Sum([]byte(source))
		p[hex.EncodeToString(sum[:])] = strings.Replace(source, line, wrong, 1)
	}
	return p
}

func (p plant) DialHook(next redis.DialHook) redis.DialHook { return next }

func (p plant) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return next(ctx, p.in(cmd)) }
}

func (p plant) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			p.in(cmd)
		}
		return next(ctx, cmds)
	}
}

func (p plant) in(cmd redis.Cmder) redis.Cmder {
	if a := cmd.Args(); a[0] == "evalsha" {
		if bug, ok := p[a[1].(string)]; ok {
			a[0], a[1] = "eval", bug
		}
	}
	return cmd
}

// The checks of the other tests notice when something is wrong: each of these bugs fails at least
// one.
func TestAPlantedBugIsCaught(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	for name, c := range map[string]struct {
		script, line, wrong string
		cluster             bool
		caught              func(t *testing.T, w *town) bool
	}{
		"one half of a trade is forgotten": {"settle", "take(KEYS[2], ARGV, last + 1, all, ITEMS)", "nil", false, func(t *testing.T, w *town) bool {
			w.accept(bob, w.barter())
			r, err := w.Audit(t.Context())
			require.NoError(t, err)
			return !r.Clean()
		}},
		"a trade is settled twice": {"settle", "redis.call('HSET', KEYS[3], 'status', 'completed', 'endedAt', text(at), ARGV[2] .. ':accepted', '1', ARGV[2] .. ':acceptedAt', text(at))", "", false, func(t *testing.T, w *town) bool {
			o := w.barter()
			w.accept(bob, o)
			w.accept(bob, o)
			r, err := w.Audit(t.Context())
			require.NoError(t, err)
			return !r.Clean()
		}},
		"what is in escrow is not applied": {"close", "add(KEYS[1], come, first, #come)", "nil", true, func(t *testing.T, w *town) bool {
			w.accept(bob, w.barter())
			g, err := w.Owned(t.Context(), "bobo")
			require.NoError(t, err)
			return len(g.Items) == 0
		}},
		"what is in escrow is applied twice": {"close", "redis.call('HDEL', KEYS[1], 'hold:' .. ARGV[1])", "", true, func(t *testing.T, w *town) bool {
			for n := int64(6); n < 10; n++ { // an answer is lost behind the decision, and the sweeper does it again
				w := w.anew(t)
				w.Service = trade.New(w.rdb, w.locks, players, w.told, quickly)
				w.mint("anna", "apple", 5, 0)
				w.mint("bobo", "", 0, 50)
				o := w.barter()
				_, _ = w.struck(t, &blow{at: n, after: true, dies: true}).Accept(t.Context(), bob, agree(o))
				w.swept()
				for _, who := range []string{"anna", "bobo"} {
					g, err := w.Owned(t.Context(), who)
					require.NoError(t, err)
					if g.Gold > 50 || len(g.Items) > 0 && g.Items[0].Qty > 5 {
						return true
					}
				}
				if held, _ := w.rdb.HExists(t.Context(), "char:anna:inventory", "hold:"+o.TradeID).Result(); held {
					return true
				}
			}
			return false
		}},
		"a stale holder commits": {"gift", "if highest and tonumber(highest) > tonumber(mine)", "if false", false, func(t *testing.T, w *town) bool {
			for i, fence := range []int64{7, 6} {
				w.locks.before = func(int64) (int64, error) { return fence, nil }
				_, err := w.Execute(t.Context(), ann, gift("bob", string(rune('a'+i)), 0, some("apple", 1)))
				if i == 1 {
					return code(err) != "LOCKED"
				}
			}
			return false
		}},
		"a key is forgotten": {"gift", "local record = record_of(KEYS[3])", "local record = nil", false, func(t *testing.T, w *town) bool {
			// Two devices at once: both have looked before either has given.
			both := make(chan trade.Trade, 2)
			ready := make(chan struct{})
			var looked atomic.Int64
			w.locks.run = true
			w.locks.before = func(int64) (int64, error) {
				if looked.Add(1) == 2 {
					close(ready)
				}
				<-ready
				return 7, nil // neither is older than the other
			}
			for range 2 {
				go func() {
					done, _ := w.Execute(context.WithoutCancel(t.Context()), ann, gift("bob", "k", 0, some("apple", 1)))
					both <- done
				}()
			}
			first, second := <-both, <-both
			return first.TradeID != second.TradeID
		}},
	} {
		t.Run(name, func(t *testing.T) {
			rdb := redistest.Client(t)
			if c.cluster {
				rdb = clusterClient(t, cluster)
			}
			w := newTown(t, rdb).anew(t)
			w.mint("anna", "apple", 5, 0)
			w.mint("bobo", "", 0, 50)
			rdb.(interface{ AddHook(redis.Hook) }).AddHook(newPlant(t, w.Service, c.script, c.line, c.wrong))
			require.True(t, c.caught(t, w), "a bug that no check notices")
		})
	}
}

// So do bugs in how the scripts themselves see the locks, where these lie on the server of the
// trades.
func TestAPlantedBugInTheLocksIsCaught(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ line, wrong string }{
		"a holder whose lease ran out commits": {"if mine == '' then return nil end", "do return nil end"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, m := newLockedTown(t)
			w.rdb.(*redis.Client).AddHook(newPlant(t, w.Service, "gift", c.line, c.wrong))
			require.NoError(t, overslept(t, w, m, lateGift), "a bug that no check notices")
			r, err := w.Audit(t.Context())
			require.NoError(t, err)
			require.True(t, r.Clean(), "both were gifts of what there was")
		})
	}
}
