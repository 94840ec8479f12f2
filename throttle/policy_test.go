package throttle

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, nil, Config{}, Defaults(false)...)
	b, err := json.Marshal(l.Policies())
	require.NoError(t, err)
	require.JSONEq(t, `[
		{"name":"api","limit":50,"windowMs":60000,"scope":"ip"},
		{"name":"bearers","limit":60,"windowMs":60000,"scope":"ip"},
		{"name":"chat","limit":10,"windowMs":10000,"scope":"user"},
		{"name":"combat","limit":10,"windowMs":5000,"scope":"user"},
		{"name":"connect","limit":20,"windowMs":10000,"scope":"ip"},
		{"name":"errors","limit":20,"windowMs":5000,"scope":"connection"},
		{"name":"events","limit":300,"windowMs":3000,"scope":"connection"},
		{"name":"login","limit":5,"windowMs":60000,"scope":"ip"},
		{"name":"moderation","limit":15,"windowMs":3000,"scope":"user"},
		{"name":"reads","limit":60,"windowMs":3000,"scope":"user"},
		{"name":"rooms","limit":15,"windowMs":3000,"scope":"user"},
		{"name":"trade","limit":10,"windowMs":10000,"scope":"user"}]`, string(b))
	for _, p := range Defaults(true) {
		if p.Name == "login" {
			require.Equal(t, 60, p.Limit)
		}
	}
}

func TestParseOverride(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Override{
		"chat=2000/1s":    {Name: "chat", Limit: 2000, Window: time.Second},
		"chat=off":        {Name: "chat"},
		"login=1/1ms":     {Name: "login", Limit: 1, Window: time.Millisecond},
		"api=1000000/24h": {Name: "api", Limit: 1_000_000, Window: 24 * time.Hour},
	} {
		got, err := ParseOverride(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got)
	}
	for in, want := range map[string]error{
		"":                             ErrBadOverride,
		"chat":                         ErrBadOverride,
		"=5/1s":                        ErrBadOverride,
		"Chat=5/1s":                    ErrBadOverride,
		"chat=5":                       ErrBadOverride,
		"chat=":                        ErrBadOverride,
		"chat=OFF":                     ErrBadOverride,
		"chat=0/1s":                    ErrBadLimit,
		"chat=-5/1s":                   ErrBadLimit,
		"chat=1.5/1s":                  ErrBadLimit,
		"chat=1000001/1s":              ErrBadLimit,
		"chat=99999999999999999999/1s": ErrBadLimit,
		"chat=5/0s":                    ErrBadWindow,
		"chat=5/-1s":                   ErrBadWindow,
		"chat=5/1":                     ErrBadWindow,
		"chat=5/second":                ErrBadWindow,
		"chat=5/1us":                   ErrBadWindow,
		"chat=5/1500us":                ErrBadWindow,
		"chat=5/25h":                   ErrBadWindow,
		"chat=5/1s/2":                  ErrBadWindow,
	} {
		_, err := ParseOverride(in)
		require.ErrorIs(t, err, want, in)
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	base := Defaults(false)
	got, err := Apply(base, []Override{{Name: "chat", Limit: 5, Window: time.Second}, {Name: "combat"}, {Name: "chat", Limit: 7, Window: time.Minute}})
	require.NoError(t, err)
	require.Equal(t, Defaults(false), base, "the given ones stay")
	l := newLimiter(t, nil, Config{}, got...)
	require.Len(t, l.Policies(), len(base)-1, "combat is off")
	require.Equal(t, Policy{Name: "chat", Limit: 7, Window: time.Minute, Scope: ByUser}, l.Policies()[2])
	_, err = Apply(base, []Override{{Name: "chta", Limit: 5, Window: time.Second}})
	require.ErrorIs(t, err, ErrUnknownPolicy)
	require.ErrorContains(t, err, "api, bearers, chat, combat, connect, errors, events, login, moderation, reads, rooms, trade")
}

func TestNewRefusesBadPolicies(t *testing.T) {
	t.Parallel()
	good := Policy{Name: "p", Limit: 1, Window: time.Second, Scope: ByUser}
	for name, change := range map[string]func(*Policy){
		"name":   func(p *Policy) { p.Name = "a:b" },
		"scope":  func(p *Policy) { p.Scope = "planet" },
		"limit":  func(p *Policy) { p.Limit = -1 },
		"huge":   func(p *Policy) { p.Limit = MaxLimit + 1 },
		"window": func(p *Policy) { p.Window = 0 },
	} {
		p := good
		change(&p)
		_, err := New(nil, []Policy{p}, Config{})
		require.ErrorIs(t, err, ErrBadPolicy, name)
	}
	_, err := New(nil, []Policy{good, good}, Config{})
	require.ErrorIs(t, err, ErrBadPolicy)
}
