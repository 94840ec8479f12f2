package cache

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// Errors of calls that can not be served; find out with errors.Is.
var (
	// ErrKey: a key or tag that is empty, too long, or holds a brace.
	ErrKey = errors.New("cache: bad key")
	// ErrValue: a value that the codec can not encode or decode.
	ErrValue = errors.New("cache: bad value")
	// ErrTooLarge: a value whose encoding is longer than Config.MaxValue.
	ErrTooLarge = errors.New("cache: value too large")
	// ErrNotFound: the source has nothing under that key. It is the fault NOT_FOUND.
	ErrNotFound = fmt.Errorf("cache: %w", fault.ErrNotFound)
)

// Config tunes a Manager. The zero value works.
type Config struct {
	// TTL stands where a call gives none; 0 means an hour.
	TTL time.Duration
	// MaxValue bounds an encoded value, in bytes; 0 means 1 MiB.
	MaxValue int
	// Budget bounds one call to Redis; 0 means 250 ms.
	Budget time.Duration
	// Codec encodes values; nil is JSON.
	Codec Codec
	// Local is the L1.
	Local Local
	// Failed, when set, is told what Redis, or a load that nobody waits for, could not do. It
	// is called by many goroutines, once for each failure.
	Failed func(doing string, err error)
}

// Local tunes the L1 of a Manager.
type Local struct {
	// Off leaves L1 out.
	Off bool
	// Bytes bounds the keys and values that it holds; 0 means 64 MiB.
	Bytes uint64
	// TTL is how long it serves a value without asking Redis; 0 means 10 s.
	TTL time.Duration
}

func (c Config) withDefaults() Config {
	if c.TTL <= 0 {
		c.TTL = time.Hour
	}
	if c.MaxValue <= 0 {
		c.MaxValue = 1 << 20
	}
	if c.Budget <= 0 {
		c.Budget = 250 * time.Millisecond
	}
	if c.Codec == nil {
		c.Codec = JSON{}
	}
	if c.Local.Bytes == 0 {
		c.Local.Bytes = 64 << 20
	}
	if c.Local.TTL <= 0 {
		c.Local.TTL = 10 * time.Second
	}
	if c.Failed == nil {
		c.Failed = func(string, error) {}
	}
	return c
}

// A Manager caches in one Redis. Its methods, and the functions that take one, may be called
// from any goroutine.
type Manager struct {
	rdb    redis.UniversalClient
	cfg    Config
	id     string // of this manager, in the messages that it sends
	local  *local // nil when off
	counts counts
	loads  flights
	arrive arrivals
	owed   debts

	background sync.WaitGroup     // loads that outlive their callers
	ctx        context.Context    //nolint:containedctx // that of background loads: the manager's life
	cancel     context.CancelFunc // ends them
}

// New makes a Manager. L1 serves from when Run has subscribed.
func New(rdb redis.UniversalClient, cfg Config) *Manager {
	m := &Manager{rdb: rdb, cfg: cfg.withDefaults(), id: strconv.FormatUint(rand.Uint64(), 36)}
	m.counts.prefixes = make(map[string]*tally)
	m.loads.m = make(map[string]*flight)
	m.arrive.m = make(map[string]chan struct{})
	m.owed.m = make(map[string]struct{})
	if !cfg.Local.Off {
		m.local = newLocal(m.cfg.Local, &m.counts)
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Close ends the loads that are under way and waits for them. Nothing may be called after it.
func (m *Manager) Close() {
	m.cancel()
	m.background.Wait()
	if m.local != nil {
		m.local.entries.StopAllGoroutines()
	}
}

const (
	maxKey = 512
	maxTag = 128
)

func checkKey(key string) error { return checkName(key, maxKey) }

// checkName refuses what is no key. Braces would move a key to another slot of a Cluster than
// the lease of its load, whose hash tag is the whole key.
func checkName(name string, limit int) error {
	if name == "" || len(name) > limit || strings.ContainsAny(name, "{}") {
		return fmt.Errorf("%w: %.64q", ErrKey, name)
	}
	return nil
}

// bounded gives a call to Redis its budget.
func (m *Manager) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, m.cfg.Budget)
}

// failed counts and tells an error of Redis, and returns it wrapped. It is nobody's when the
// caller left.
func (m *Manager) failed(ctx context.Context, doing, key string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("cache: %s: %w", doing, ctx.Err())
	}
	m.counts.of(key).errors.Add(1)
	m.cfg.Failed(doing, err)
	return fmt.Errorf("cache: %s: %w", doing, err)
}

// Scripts; their headers say what they take and return.
var (
	//go:embed write.lua
	writeSource string
	//go:embed release.lua
	releaseSource string

	writeScript   = redisx.NewScript(writeSource)
	releaseScript = redisx.NewScript(releaseSource)
)

// write stores a value, or removes it when value is nil, and tells every node. With a token
// it does so only while that load still holds its lease. It returns whether it did; of a
// removal whether something was there.
func (m *Manager) write(ctx context.Context, key, token string, value []byte, ttl time.Duration) (bool, error) {
	ctx, cancel := m.bounded(ctx)
	defer cancel()
	done, err := writeScript.Do(ctx, m.rdb, writeKeys(key), m.writeArgs(key, token, value, ttl)...).Bool()
	m.forget(key) // also when the answer was lost: it may be written
	if err == nil {
		m.owed.paid(key)
	}
	return done, err
}

func writeKeys(key string) []string { return []string{key, keys.CacheLoad(key)} }

func (m *Manager) writeArgs(key, token string, value []byte, ttl time.Duration) []any {
	return []any{token, value, ttl.Milliseconds(), keys.CacheInvalidations, m.message(key)}
}

// forget drops a key from this process's L1, and what is being read into it.
func (m *Manager) forget(key string) {
	if m.local != nil {
		m.local.forget(key)
	}
}
