package backend_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway"
	"github.com/aeturnis/realtime/internal/backend"
)

// silentRooms take casts at once.
type silentRooms struct {
	sent []gateway.Push
	fail error // of all casts
}

func (r *silentRooms) AfterAnswer(_ string, f func()) { f() }

func (r *silentRooms) SendPush(p gateway.Push) error {
	r.sent = append(r.sent, p)
	return r.fail
}

// config returns a backend at a URL whose secret is in a file.
func config(t testing.TB, name, url string, events ...string) backend.Config {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("0123456789abcdef\n"), 0o600))
	return backend.Config{Name: name, URL: url, Events: events, SecretFile: secret}
}

// serveOne serves one event by the route of a backend.
func serveOne(s *backend.Service, name, payload string) (string, error) {
	for _, r := range s.Routes() {
		if r.Name == name {
			return serveRoute(r, payload)
		}
	}
	return "", fault.ErrUnknownEvent
}

func serveRoute(r event.Route, payload string) (string, error) {
	out, err := r.Serve(context.Background(), &event.Player{UserID: "ann"}, []byte(payload), nil)
	return string(out), err
}

func TestWhatIsWrongWithSeveralBackends(t *testing.T) {
	t.Parallel()
	one, two := config(t, "one", "https://one.example/", "quest:accept"), config(t, "two", "https://two.example/", "quest:accept", "quest:other")
	faults := backend.Check([]backend.Config{one, two}, time.Second)
	require.Len(t, faults, 1)
	require.EqualError(t, faults[0], "backends: two: events: quest:accept is served by one already")

	one.Connect, two.Connect = backend.ConnectRefuse, backend.ConnectAdmit
	two.Events = []string{"guild:raid"}
	faults = backend.Check([]backend.Config{one, two}, time.Second)
	require.Len(t, faults, 1)
	require.EqualError(t, faults[0], "backends: two: connect: one judges who connects already")

	two.Connect, two.Name = "", "one"
	require.NotEmpty(t, backend.Check([]backend.Config{one, two}, time.Second))
	two.Name = "two"
	many := []backend.Config{two}
	for i := range 32 {
		more := two
		more.Name, more.Events = fmt.Sprint("b", i), []string{fmt.Sprint("b", i, ":x")}
		many = append(many, more)
	}
	require.Len(t, backend.Check(many, time.Second), 1, "at most 32")
	two.Events = []string{"quest:*"}
	require.ErrorContains(t, backend.Check([]backend.Config{two}, time.Second)[0], "needs a schema")
	require.Empty(t, backend.Check(nil, time.Second))
}

// Without a schema every object is passed on, and every code but the gateway's own may be answered.
func TestWithoutASchema(t *testing.T) {
	t.Parallel()
	answer := `{"data":{"ok":1},"casts":[{"room":"game:world","event":"world:news","data":[1]}]}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
	defer s.Close()
	rooms := &silentRooms{}
	service, err := backend.New([]backend.Config{config(t, "quests", s.URL, "quest:accept")}, backend.Options{Rooms: rooms})
	require.NoError(t, err)
	defer service.Close()
	out, err := serveOne(service, "quest:accept", `{"any":[1,{"x":null}]}`)
	require.NoError(t, err)
	require.JSONEq(t, `{"ok":1}`, out)
	require.Len(t, rooms.sent, 1)
	require.Equal(t, "game:world", rooms.sent[0].Room)
	require.Equal(t, "[1]", string(rooms.sent[0].JSON))

	answer = `{"error":{"code":"QUEST_FULL","message":"Full."}}`
	_, err = serveOne(service, "quest:accept", ``)
	require.Equal(t, "QUEST_FULL", fault.Of(err).Code)
	answer = `{"error":{"code":"INTERNAL","message":"x"}}`
	_, err = serveOne(service, "quest:accept", ``)
	require.ErrorIs(t, err, backend.ErrAnswer)
	require.Equal(t, map[string]bool{"quests": true}, service.States())
}

// Casts that were not sent are counted, and answers that are none too; both are reported, and not
// each one.
func TestFailuresAreReported(t *testing.T) {
	t.Parallel()
	answer := `{"casts":[{"userId":"ann","event":"quest:done"},{"userId":"bob","event":"quest:done"}]}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
	defer s.Close()
	var reports []string
	service, err := backend.New([]backend.Config{config(t, "quests", s.URL, "quest:accept")}, backend.Options{
		Rooms:      &silentRooms{fail: errors.New("Redis is away")},
		CastFailed: func(name string, err error, _ int) { reports = append(reports, name+": "+err.Error()) },
		AnswerFailed: func(name, event string, err error, _ int) {
			reports = append(reports, name+": "+event+": "+err.Error())
		},
	})
	require.NoError(t, err)
	defer service.Close()
	_, err = serveOne(service, "quest:accept", `{}`)
	require.NoError(t, err, "the event is done")
	answer = `[]`
	for range 3 {
		_, err = serveOne(service, "quest:accept", `{}`)
		require.ErrorIs(t, err, backend.ErrAnswer)
	}
	require.Equal(t, []string{"quests: Redis is away", `quests: quest:accept: the answer of the backend: expected an object: it begins with "[]"`}, reports)
	registry := prometheus.NewRegistry()
	registry.MustRegister(service.Metrics())
	families, err := registry.Gather()
	require.NoError(t, err)
	i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "gateway_backend_casts_failed_total" })
	require.GreaterOrEqual(t, i, 0)
	require.EqualValues(t, 2, families[i].Metric[0].Counter.GetValue())
}

// A backend that is known to be away costs no more than a look at its breaker.
func TestABackendThatIsKnownToBeAway(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	var told []bool
	service, err := backend.New([]backend.Config{config(t, "quests", s.URL, "quest:accept")}, backend.Options{
		Rooms: &silentRooms{}, Reachable: func(_ string, isReachable bool) { told = append(told, isReachable) },
	})
	require.NoError(t, err)
	defer service.Close()
	for range 20 {
		_, err := serveOne(service, "quest:accept", `{}`)
		f := fault.Of(err)
		require.Equal(t, []any{"UNAVAILABLE", "quests"}, []any{f.Code, f.Detail("feature")})
	}
	require.Equal(t, []bool{false}, told)
	require.Equal(t, map[string]bool{"quests": false}, service.States())
}

// BenchmarkAwayBackend measures an event whose backend is known to be away: at most 5 ms.
func BenchmarkAwayBackend(b *testing.B) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	service, err := backend.New([]backend.Config{config(b, "quests", s.URL, "quest:accept")}, backend.Options{Rooms: &silentRooms{}})
	require.NoError(b, err)
	defer service.Close()
	for range 20 {
		_, _ = serveOne(service, "quest:accept", `{}`)
	}
	for b.Loop() {
		_, _ = serveOne(service, "quest:accept", `{}`)
	}
}

func Example() {
	quests := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"data":{"questId":"q1"}}`))
	}))
	defer quests.Close()
	secret := filepath.Join(os.TempDir(), "example-of-a-backend")
	_ = os.WriteFile(secret, []byte("a secret of the quests\n"), 0o600)
	defer os.Remove(secret)

	s, err := backend.New([]backend.Config{{Name: "quests", URL: quests.URL, Events: []string{"quest:accept"}, SecretFile: secret}}, backend.Options{Rooms: &silentRooms{}})
	if err != nil {
		fmt.Println(strings.TrimSpace(err.Error()))
		return
	}
	defer s.Close()
	fmt.Println(serveOne(s, "quest:accept", `{"questId":"q1"}`))
	// Output: {"questId":"q1"} <nil>
}
