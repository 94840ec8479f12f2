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

// The errors of this package. Test for them with errors.Is: most are returned with a wrapping.
var (
	// ErrKey means that a key or tag is empty, too long, or contains a brace.
	ErrKey = errors.New("cache: bad key")
	// ErrValue means that the codec cannot encode or decode a value.
	ErrValue = errors.New("cache: bad value")
	// ErrTooLarge means that an encoded value is longer than Config.MaxValue.
	ErrTooLarge = errors.New("cache: value too large")
	// ErrNotFound means that the source has no value for a key. It wraps fault.ErrNotFound.
	ErrNotFound = fmt.Errorf("cache: %w", fault.ErrNotFound)
)

// Config tunes a Manager. The zero value works.
type Config struct {
	// TTL is how long values live if a call gives no TTL; 0 means one hour.
	TTL time.Duration
	// MaxValue bounds the size of an encoded value, in bytes; 0 means 1 MiB.
	MaxValue int
	// Budget bounds the time of one call to Redis; 0 means 250 ms.
	Budget time.Duration
	// Codec encodes values; nil means JSON.
	Codec Codec
	// Local configures the cache in this process (L1).
	Local Local
	// OnError, if set, is called once for each failed call to Redis, for each stored value that cannot
	// be decoded, for each failed load that no caller waits for, and for each loss of the
	// subscription. Many goroutines may call it at the same time.
	OnError func(doing string, err error)
}

// Local configures the L1 of a Manager.
type Local struct {
	// Off disables L1.
	Off bool
	// Bytes bounds the memory for keys and values; 0 means 64 MiB.
	Bytes uint64
	// TTL is how long L1 serves a value without asking Redis again; 0 means 10 s.
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
	if c.OnError == nil {
		c.OnError = func(string, error) {}
	}
	return c
}

// A Manager caches values in one Redis. Its methods, and the functions that take a Manager, may
// be called from any goroutine.
type Manager struct {
	rdb            redis.UniversalClient
	cfg            Config
	id             string      // identifies this manager in the messages that it publishes
	local          *localCache // nil if L1 is off
	counters       counters
	loads          loadCalls
	keyWaiters     keyWaiters
	pendingDeletes pendingDeletes

	background sync.WaitGroup // loads that outlive their callers
	workers    workers
}

// New returns a Manager. Its L1 serves values once Run has subscribed.
func New(rdb redis.UniversalClient, cfg Config) *Manager {
	m := &Manager{rdb: rdb, cfg: cfg.withDefaults(), id: strconv.FormatUint(rand.Uint64(), 36), workers: newWorkers()}
	m.counters.prefixes = make(map[string]*prefixCounters)
	m.loads.byName = make(map[string]*loadCall)
	m.keyWaiters.byKey = make(map[string]chan struct{})
	m.pendingDeletes.keys = make(map[string]struct{})
	if !cfg.Local.Off {
		m.local = newLocalCache(m.cfg.Local, &m.counters)
	}
	return m
}

// Close ends the loads that are in progress and waits for them. The Manager must not be used after
// it.
func (m *Manager) Close() {
	m.loads.cancelAll()
	m.background.Wait()
	close(m.workers.closed)
	if m.local != nil {
		m.local.entries.StopAllGoroutines()
	}
}

const (
	maxKey = 512
	maxTag = 128
)

func validateKey(key string) error { return validateName(key, maxKey) }

// validateName refuses names that are empty, too long, or contain braces. The hash tag of a load's
// lease is the whole key: braces in the key would put the two into different slots of a Cluster.
func validateName(name string, limit int) error {
	if name == "" || len(name) > limit || strings.ContainsAny(name, "{}") {
		return fmt.Errorf("%w: %.64q", ErrKey, name)
	}
	return nil
}

// contextWithBudget limits a call to Redis to Config.Budget.
func (m *Manager) contextWithBudget(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, m.cfg.Budget)
}

// reportFailure counts a failure of Redis, reports it to Config.OnError, and returns it wrapped. If
// the caller has cancelled the context, the failure does not count.
func (m *Manager) reportFailure(ctx context.Context, doing, key string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("cache: %s: %w", doing, ctx.Err())
	}
	m.counters.forPrefixOf(key).errors.Add(1)
	m.cfg.OnError(doing, err)
	return fmt.Errorf("cache: %s: %w", doing, err)
}

var (
	//go:embed look.lua
	lookLua string
	//go:embed write.lua
	writeLua string
	//go:embed release_lease.lua
	releaseLua string
	//go:embed remove_unreadable.lua
	removeUnreadableLua string

	lookScript    = redisx.NewScript(lookLua)
	writeScript   = redisx.NewScript(writeLua)
	releaseScript = redisx.NewScript(releaseLua)
	removeScript  = redisx.NewScript(removeUnreadableLua)
)

// writeValue stores a value, or removes it if value is nil, and tells every node. With a token it
// writes only while that load still holds its lease. It returns whether it wrote, or, of a
// removal, whether there was a value.
func (m *Manager) writeValue(ctx context.Context, key, token string, value []byte, ttl time.Duration) (bool, error) {
	ctx, cancel := m.contextWithBudget(ctx)
	defer cancel()
	done, err := writeScript.Do(ctx, m.rdb, writeScriptKeys(key), m.writeScriptArgs(key, token, value, ttl)...).Bool()
	m.forgetLocal(key) // also if the answer was lost: the value may be written
	if err == nil {
		m.pendingDeletes.removePendingKey(key)
	}
	return done, err
}

func writeScriptKeys(key string) []string {
	lease := keys.CacheLoad(key)
	return []string{key, lease, keys.CacheLoadAwaited(lease)}
}

func (m *Manager) writeScriptArgs(key, token string, value []byte, ttl time.Duration) []any {
	return []any{token, value, ttl.Milliseconds(), keys.CacheInvalidations, m.changeMessage(key)}
}

// forgetLocal removes a key from L1. A read of it that is in progress will not be stored there.
func (m *Manager) forgetLocal(key string) {
	if m.local != nil {
		m.local.forgetKey(key)
	}
}
