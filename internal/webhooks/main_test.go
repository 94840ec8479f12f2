package webhooks

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/signedpost"
)

const soon = 30 * time.Second

var secret = []byte("a secret of the tests")

func TestMain(m *testing.M) { redistest.Main(m) }

// A receiver writes down what is delivered to it.
type receiver struct {
	t      *testing.T
	url    string
	answer func(w http.ResponseWriter, r *http.Request, e Event) // nil: 204

	mu  sync.Mutex
	got []Event // first receipts; guarded by mu
	all []Event // guarded by mu
}

func newReceiver(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, e Event)) *receiver {
	rec := &receiver{t: t, answer: answer}
	server := httptest.NewServer(rec)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	rec.url = server.URL
	return rec
}

func (rec *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := make([]byte, 0, 4096)
	for {
		part := make([]byte, 4096)
		n, err := r.Body.Read(part)
		body = append(body, part[:n]...)
		if err != nil {
			break
		}
	}
	if err := signedpost.Verify(r.Header.Get(signedpost.HeaderName), time.Now(), body, secret); err != nil {
		w.WriteHeader(http.StatusForbidden)
		rec.t.Error(err)
		return
	}
	var e Event
	if err := json.Unmarshal(body, &e); err != nil {
		rec.t.Error(err, string(body))
	}
	rec.mu.Lock()
	rec.all = append(rec.all, e)
	rec.mu.Unlock()
	if rec.answer != nil {
		rec.answer(w, r, e)
		return
	}
	rec.take(e)
	w.WriteHeader(http.StatusNoContent)
}

func (rec *receiver) take(e Event) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if !slices.ContainsFunc(rec.got, func(o Event) bool { return o.ID == e.ID }) { // a busy machine may be sent one twice
		rec.got = append(rec.got, e)
	}
}

func (rec *receiver) taken() []Event {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([]Event{}, rec.got...)
}

// receipts returns all that came, repeats too.
func (rec *receiver) receipts() []Event {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([]Event{}, rec.all...)
}

// await returns what was taken once it is so much.
func (rec *receiver) await(n int) []Event {
	rec.t.Helper()
	require.Eventually(rec.t, func() bool { return len(rec.taken()) >= n }, soon, 5*time.Millisecond, "%d of %d came", len(rec.taken()), n)
	return rec.taken()
}

// start runs a dispatcher until stop is called.
func start(t *testing.T, rdb redis.UniversalClient, rec *receiver, outbox *Outbox) (d *Dispatcher, stop func()) {
	t.Helper()
	return startWith(t, rdb, rec, outbox, 10*time.Microsecond, 500*time.Millisecond)
}

// startWith is start with another Config.Retry, and another time that the receiver has.
func startWith(t *testing.T, rdb redis.UniversalClient, rec *receiver, outbox *Outbox, retry, timeout time.Duration) (d *Dispatcher, stop func()) {
	t.Helper()
	client, err := signedpost.NewClient(signedpost.Config{MaxAnswer: 64 << 10, Timeout: timeout})
	require.NoError(t, err)
	secrets := signedpost.FixedSecrets(secret)
	d = NewDispatcher(Config{
		Redis: rdb, Outbox: outbox, Retry: retry, Log: zaptest.NewLogger(t),
		Post: func(ctx context.Context, body []byte) (int, error) {
			status, _, err := client.Post(ctx, rec.url, secrets, body)
			return status, err
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = d.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		client.Close()
	})
	t.Cleanup(stop)
	return d, stop
}

// said is the data of an event of one player.
type said struct {
	Party
	N int `json:"n"`
}

func write(t *testing.T, o *Outbox, user string, n int) {
	t.Helper()
	require.NoError(t, o.Write(t.Context(), CombatEnded, "", said{Party{UserID: user}, n}))
}

// numbers returns the numbers of a user's events.
func numbers(t *testing.T, all []Event, user string) (out []int) {
	t.Helper()
	for _, e := range all {
		var s said
		require.NoError(t, json.Unmarshal(e.Data, &s))
		if s.UserID == user {
			out = append(out, s.N)
		}
	}
	return out
}

// valueOf returns the value of a counter or a gauge.
func valueOf(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	require.NoError(t, m.Write(&out))
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}
