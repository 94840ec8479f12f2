package event

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/aeturnis/realtime/fault"
)

func TestWholeNumbersAreTakenInAnyForm(t *testing.T) {
	t.Parallel()
	type in struct {
		N    int64   `json:"n"`
		Text string  `json:"text"`
		Rows []int   `json:"rows"`
		F    float64 `json:"f"`
	}
	for raw, want := range map[string]in{
		`{"n":2.0}`: {N: 2}, `{"n":1e1}`: {N: 10}, `{"n":1E+1}`: {N: 10}, `{"n":100e-2}`: {N: 1}, `{"n":-2.50e1}`: {N: -25}, `{"n":0.0}`: {}, `{"n":-0.0}`: {},
		`{"n":9223372036854775807.0}`: {N: 1<<63 - 1}, `{"n":-9223372036854775808.0}`: {N: -1 << 63}, `{"n":0e400}`: {}, `{"n":0.001e3}`: {N: 1},
		`{"text":"2.0 \" 1e1","n":3.0,"rows":[1.0,2,3e0]}`: {N: 3, Text: `2.0 " 1e1`, Rows: []int{1, 2, 3}},
		`{"f":2.5,"n":1.0}`: {N: 1, F: 2.5}, `{"f":1e3}`: {F: 1000},
	} {
		var got in
		require.NoError(t, Decode([]byte(raw), &got), raw)
		require.Equal(t, want, got, raw)
	}
	for _, raw := range []string{
		`{"n":2.5}`, `{"n":1e-1}`, `{"n":1e19}`, `{"n":9223372036854775808.0}`, `{"n":1e999999999999}`, `{"n":1e400}`, `{"n":1` + strings.Repeat("0", 70) + `.0}`,
	} {
		f := fault.Of(Decode([]byte(raw), &in{}))
		require.Equal(t, "n", f.Detail("field"), raw)
		require.Equal(t, "expected a whole number in range", f.Detail("reason"), raw)
	}
	for _, raw := range []string{`{"n":2.}`, `{"n":.5}`, `{"n":01.0}`, `{"n":1e}`, `{"n":1e1.0}`, `{"n":--1.0}`, `{"n":1.0.0}`, `{"n":1-1}`, `{"n":`, `{"n":"1.0`} {
		require.ErrorIs(t, Decode([]byte(raw), &in{}), fault.ErrInvalid, raw)
	}
}

// Half of a surrogate pair, which JavaScript lets players type, is U+FFFD, as from Node's server.
func TestHalfASurrogatePairIsReplaced(t *testing.T) {
	t.Parallel()
	var in struct {
		Text string `json:"text"`
	}
	require.NoError(t, Decode([]byte(`{"text":"a\ud83d!"}`), &in))
	require.Equal(t, "a\ufffd!", in.Text)
	require.NoError(t, Decode([]byte(`{"text":"\ud83d\ude00"}`), &in))
	require.Equal(t, "\U0001f600", in.Text)
	require.ErrorIs(t, Decode([]byte("{\"text\":\"\xff\"}"), &in), fault.ErrInvalid, "bytes that are not UTF-8 are refused")
}

func TestALongFieldIsNotEchoed(t *testing.T) {
	t.Parallel()
	type in struct {
		M map[string]struct {
			N int `json:"n" validate:"max=1"`
		} `json:"m" validate:"dive"`
	}
	long := strings.Repeat("x", 50_000)
	for _, raw := range []string{`{"` + long + `":1}`, `{"m":{"` + long + `":{"n":2}}}`, `{"m":{"` + long + `":{"` + long + `":2}}}`, `{"m":{"` + long + `":{"n":"a"}}}`} {
		err := Decode([]byte(raw), &in{})
		require.ErrorIs(t, err, fault.ErrInvalid)
		b, err := json.Marshal(fault.Of(err))
		require.NoError(t, err)
		require.Less(t, len(b), 400, "%.600s", b)
	}
}

// Rewriting a payload keeps its meaning, and changes nothing but the numbers.
func TestRewrittenJSONMeansTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.SampledFrom([]byte(`{}[],:"\\eE+-.0123456789 x`)), 0, 40).Draw(t, "raw")
		got := rewriteWholeNumbers(raw)
		require.Equal(t, jsontext.Value(raw).IsValid(), jsontext.Value(got).IsValid(), "%q became %q", raw, got)
		var before, after any
		if json.Unmarshal(raw, &before) == nil {
			require.NoError(t, json.Unmarshal(got, &after))
			require.Equal(t, before, after, "%q became %q", raw, got)
		}
	})
}
