// Package redistest gives tests a real redis-server: one for each test binary, with an
// empty database for each test, or one of their own that they may kill and bring back.
//
//	func TestMain(m *testing.M) { redistest.Main(m) }
//
//	func TestIt(t *testing.T) {
//		t.Parallel()
//		client := redistest.Client(t) // an empty database
//	}
//
// Pub/sub and scripts are shared by all databases of a server: tests of those either use
// channels of their own or take a Server. Servers end with the test binary, kill -9
// included. Without a server on PATH tests fail; they are never skipped.
package redistest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const databases = 4096

// shared is the server of this test binary.
var shared struct {
	mu     sync.Mutex
	server *node
	free   []int // databases that no test uses; guarded by mu
}

// Main starts the shared server, runs the tests, stops the server, calls the functions in after,
// and exits. It silences the log of go-redis.
func Main(m *testing.M, after ...func()) {
	code := runWithSharedServer(m)
	for _, f := range after {
		f()
	}
	os.Exit(code)
}

func runWithSharedServer(m *testing.M) int {
	redis.SetLogger(new(logging.VoidLogger)) // go-redis would log a line for every failed dial
	n, err := startServer("--databases", fmt.Sprint(databases))
	if err != nil {
		fmt.Fprintln(os.Stderr, "redistest:", err)
		return 1
	}
	defer n.killAndRemove()
	shared.mu.Lock()
	shared.server = n
	for db := databases - 1; db >= 0; db-- {
		shared.free = append(shared.free, db)
	}
	shared.mu.Unlock()
	return m.Run()
}

// Client returns a client of an empty database that no other test uses until this test ends. Its
// timeouts are long, so that a busy machine does not fail a test.
func Client(t testing.TB) redis.UniversalClient {
	t.Helper()
	db := takeDatabase(t)
	return newTestClient(t, &redis.Options{Addr: shared.server.hostAndPort(), DB: db}, 10*time.Second)
}

// URL returns the redis:// URL of an empty database that no other test uses until this test ends.
func URL(t testing.TB) string {
	t.Helper()
	db := takeDatabase(t)
	return fmt.Sprintf("redis://%s/%d", shared.server.hostAndPort(), db)
}

func takeDatabase(t testing.TB) int {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil {
		t.Fatal("redistest: write func TestMain(m *testing.M) { redistest.Main(m) }")
	}
	if len(shared.free) == 0 {
		t.Fatalf("redistest: %d databases are in use at once", databases)
	}
	db := shared.free[len(shared.free)-1]
	shared.free = shared.free[:len(shared.free)-1]
	// A freed database goes to the end of the list, so that a late write of an ended test does not
	// hit a database that another test uses soon.
	t.Cleanup(func() {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		shared.free = append([]int{db}, shared.free...)
	})
	c := redis.NewClient(withTimeouts(&redis.Options{Addr: shared.server.hostAndPort(), DB: db}, 10*time.Second))
	defer c.Close()
	if err := c.FlushDB(context.Background()).Err(); err != nil {
		t.Fatalf("redistest: flush database %d: %v", db, err)
	}
	return db
}

func newTestClient(t testing.TB, o *redis.Options, timeout time.Duration) redis.UniversalClient {
	c := redis.NewClient(withTimeouts(o, timeout))
	t.Cleanup(func() { _ = c.Close() }) // the test may have closed it already
	return c
}

func withTimeouts(o *redis.Options, timeout time.Duration) *redis.Options {
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = timeout, timeout, timeout, timeout
	o.DialerRetries, o.MaxRetries = 1, 1
	o.ContextTimeoutEnabled = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o
}
