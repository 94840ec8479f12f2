package event_test

import (
	"context"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

func rawRoute(name string) event.Route {
	return event.OnRaw(name, &event.Schemas{}, func(_ context.Context, _ *event.Player, fields map[string]jsontext.Value, key string, dst []byte) ([]byte, error) {
		return append(append(append(dst, fields["a"]...), ' '), key...), nil
	})
}

func TestRawPayloads(t *testing.T) {
	t.Parallel()
	r := rawRoute("quest:acceptAll")
	for payload, want := range map[string]string{``: " ", `null`: " ", `{"a":[1, 2]}`: "[1, 2] ", `{"a":"\ud800"}`: `"\ud800" `} {
		out, err := r.Serve(t.Context(), &event.Player{}, []byte(payload), nil)
		require.NoError(t, err, payload)
		require.Equal(t, want, string(out), payload)
	}
	for _, payload := range []string{`[]`, `7`, `"x"`, `{`, `{"a":1,"a":2}`, `{"a":{"b":1,"b":2}}`, "{\"a\":\"\xff\"}", `{} x`} {
		_, err := r.Serve(t.Context(), &event.Player{}, []byte(payload), nil)
		require.ErrorIs(t, err, fault.ErrInvalid, payload)
	}
	for _, name := range []string{"quest", "Quest:x", "quest:", "quest:a b", "quest:*", "quest:x\n"} {
		require.False(t, event.IsRawName(name), name)
		require.Panics(t, func() { rawRoute(name) }, name)
	}
}

func TestRawKeys(t *testing.T) {
	t.Parallel()
	r := rawRoute("quest:accept").Once(event.CanRepeat())
	identify := func(payload string) event.Request {
		request, err := r.OnceRule.Identify(&event.Player{}, []byte(payload), "")
		require.NoError(t, err, payload)
		return request
	}
	require.Zero(t, identify(`{"a":1}`))
	one := identify(`{"a":{"y":1,"x":2},"idempotencyKey":"k"}`)
	require.Equal(t, "k", one.Key)
	require.Equal(t, one, identify(`{ "idempotencyKey": "k", "a": {"x": 2, "y": 1.0} }`), "the same in other words")
	require.NotEqual(t, one.Digest, identify(`{"a":{"x":2},"idempotencyKey":"k"}`).Digest)
	for _, pair := range [][2]string{
		{"9007199254740992", "9007199254740993"},
		{"0.1", "0.10000000000000001"},
		{"1e400", "1e401"},
		{"1", "10"},
		{"1", "-1"},
		{`"1.0"`, `"1"`},
		{`"\"1.0"`, `"\"1"`},
		{"1e99999999999999999998", "1e99999999999999999999"},
	} {
		a, b := identify(`{"a":`+pair[0]+`,"idempotencyKey":"k"}`), identify(`{"a":`+pair[1]+`,"idempotencyKey":"k"}`)
		require.NotEqual(t, a.Digest, b.Digest, "%s is not %s", pair[0], pair[1])
	}
	for _, pair := range [][2]string{{"1.50", "15e-1"}, {"0.15E+1", "1.5"}, {"-0", "0.00e7"}, {"1000", "1e3"}, {`"\u0061"`, `"a"`}} {
		a, b := identify(`{"a":[`+pair[0]+`],"idempotencyKey":"k"}`), identify(`{"a":[ `+pair[1]+`],"idempotencyKey":"k"}`)
		require.Equal(t, a.Digest, b.Digest, "%s is %s", pair[0], pair[1])
	}
	for _, payload := range []string{`{"idempotencyKey":""}`, `{"idempotencyKey":7}`, `{"idempotencyKey":"a\nb"}`, `{"idempotencyKey":"k","idempotencyKey":"k"}`} {
		_, err := r.OnceRule.Identify(&event.Player{}, []byte(payload), "")
		require.ErrorIs(t, err, fault.ErrInvalid, payload)
	}
	out, err := r.Serve(event.WithClaim(t.Context(), &event.Claim{Request: one}), &event.Player{}, []byte(`{"a":1,"idempotencyKey":"k"}`), nil)
	require.NoError(t, err)
	require.Equal(t, "1 k", string(out))
}
