package ledger

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// Lua is the source of the functions that every script which moves goods starts with.
//
//go:embed ledger.lua
var Lua string

var (
	//go:embed append.lua
	appendLua string
	//go:embed mint.lua
	mintLua string

	// AppendScript appends the entry of goods that have already moved. Run again, it does nothing.
	AppendScript = redisx.NewScript(Lua + appendLua)
)

// NewMintScript returns the script that makes goods come into being and writes the entry. It needs
// all keys on one server. announceLua may set announce, see ledger.lua.
func NewMintScript(announceLua string) *redisx.Script {
	return redisx.NewScript(Lua + announceLua + mintLua)
}

// Config tunes a Ledger. The zero value works.
type Config struct {
	// Skew is how far the clocks of a Cluster's servers may differ; 0 means 10 s. It is not used with
	// one server, which has one clock.
	Skew time.Duration
}

// A Ledger reads the ledger and audits it. It is safe for concurrent use, owns no goroutine and
// needs no closing.
type Ledger struct {
	rdb       redis.UniversalClient
	isCluster bool          // goods move in steps, so that inventories and entries differ for moments
	skew      time.Duration // 0 on one server
}

// New returns a Ledger that reads from rdb.
func New(rdb redis.UniversalClient, cfg Config) *Ledger {
	if cfg.Skew <= 0 {
		cfg.Skew = 10 * time.Second
	}
	isCluster := redisx.IsCluster(rdb)
	if !isCluster {
		cfg.Skew = 0
	}
	return &Ledger{rdb: rdb, isCluster: isCluster, skew: cfg.Skew}
}

// Entries returns up to limit entries that come after the stream id, oldest first; "" starts at the
// beginning. An entry that cannot be read is an error; Audit names it instead.
func (l *Ledger) Entries(ctx context.Context, after string, limit int64) ([]Entry, error) {
	start := "-"
	if after != "" {
		start = "(" + after
	}
	messages, err := l.rdb.XRangeN(ctx, keys.TradeLedger, start, "+", limit).Result()
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	entries := make([]Entry, 0, len(messages))
	for _, m := range messages {
		e, err := parseEntry(m)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// NewestEntries returns up to limit entries, newest first. Of an entry that cannot be
// read it yields what there is with ErrUnreadable, and goes on. Another error ends the sequence.
func (l *Ledger) NewestEntries(ctx context.Context, limit int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		messages, err := l.rdb.XRevRangeN(ctx, keys.TradeLedger, "+", "-", limit).Result()
		if err != nil {
			yield(Entry{}, fmt.Errorf("read the ledger's newest entries: %w", err))
			return
		}
		for _, m := range messages {
			e, err := parseEntry(m)
			if !yield(e, err) {
				return
			}
		}
	}
}

// FindEntry reads the entry of a trade or a mint. found is false when there is none.
func (l *Ledger) FindEntry(ctx context.Context, ref string) (e Entry, found bool, err error) {
	streamID, err := l.rdb.HGet(ctx, keys.TradeLedgerIndex, ref).Result()
	if errors.Is(err, redis.Nil) {
		return Entry{}, false, nil
	}
	if err != nil {
		return Entry{}, false, fmt.Errorf("look up %s in the ledger's index: %w", ref, err)
	}
	messages, err := l.rdb.XRange(ctx, keys.TradeLedger, streamID, streamID).Result()
	if err != nil {
		return Entry{}, false, fmt.Errorf("read the ledger's entry of %s: %w", ref, err)
	}
	for _, m := range messages {
		if e, err := parseEntry(m); err != nil || e.Ref == ref {
			return e, err == nil, err
		}
	}
	return Entry{}, false, nil
}
