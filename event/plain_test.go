package event

import (
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type plainLine struct {
	ItemID string `json:"itemId"`
	Qty    int64  `json:"qty"`
}

type plainWord string

type plainAll struct {
	To    string      `json:"to" validate:"required"`
	Give  plainGoods  `json:"give"`
	Kind  plainWord   `json:"kind,omitzero"`
	Count int         `json:"count,omitempty"`
	Yes   bool        `json:"yes"`
	Names []string    `json:"names"`
	Rows  [][]int64   `json:"rows"`
	Deep  []plainDeep `json:"deep"`
}

type plainGoods struct {
	Items []plainLine `json:"items"`
	Gold  int64       `json:"gold"`
}

type plainDeep struct {
	Goods []plainGoods `json:"goods"`
}

// agrees checks that a payload that is read here gives the same value as the JSON library.
func agrees(t require.TestingT, text string) (plainly bool) {
	var got, want plainAll
	if !decodePlain([]byte(text), reflect.ValueOf(&got).Elem()) {
		return false
	}
	require.NoError(t, json.Unmarshal([]byte(text), &want, json.RejectUnknownMembers(true)), text)
	require.Equal(t, want, got, text)
	return true
}

const gift = `{"to":"ann","give":{"items":[{"itemId":"coin","qty":1},{"itemId":"gem","qty":-20}],"gold":0},"kind":"k","yes":true,"names":[],"rows":[[1,2],[]],"deep":[{"goods":[{"gold":7}]},{}]}`

func TestPlain(t *testing.T) {
	t.Parallel()
	for text, plainly := range map[string]bool{
		gift: true, `{}`: true, `{"yes":false}`: true, `{"to":""}`: true, `{"to":"héllo ✓"}`: true, `{"names":["a","b","c","d","e"]}`: true,
		`{"give":{}}`: true, `{"count":999999999999999999}`: true, `{"count":-1}`: true, `{"count":0}`: true, `{"rows":[[],[]]}`: true,
		"{\"to\":\"\x7f\"}": true, `{"yes":true,"to":"x"}`: true,
		// left to the library, which may take it
		` {}`: false, `{} `: false, `{"to": "x"}`: false, `{"to":"x" }`: false, `{"to":"\u0041"}`: false, `{"to":null}`: false, `{"names":null}`: false,
		`{"count":1e2}`: false, `{"count":1.0}`: false, `{"count":9223372036854775807}`: false, `{"count":-0}`: false, `[]`: false, `null`: false,
		// or not
		``: false, `{`: false, `{"to"`: false, `{"to":`: false, `{"to":"`: false, `{"to":"x`: false, `{"to":"x"`: false, `{"to":"x",`: false, `{"to":"x",}`: false,
		`{,}`: false, `{"to":"x","to":"y"}`: false, `{"yes":true,"yes":true}`: false, `{"other":1}`: false, `{"TO":"x"}`: false, `{"to":1}`: false,
		`{"count":"1"}`: false, `{"count":01}`: false, `{"count":-}`: false, `{"count":+1}`: false, `{"count":99999999999999999999}`: false,
		`{"yes":tru}`: false, `{"yes":truefalse}`: false, `{"yes":falsey}`: false, `{"names":[`: false, `{"names":["a"`: false, `{"names":["a",]}`: false,
		`{"names":[,]}`: false, `{"names":"a"}`: false, `{"give":[]}`: false, `{}{}`: false, `{}}`: false, "{\"to\":\"\n\"}": false, "{\"to\":\"\xff\"}": false,
		"{\"to\":\"\xed\xa0\x80\"}": false, `{"to":"x"]`: false, `{"names":["a"}`: false,
	} {
		require.Equal(t, plainly, agrees(t, text), text)
	}
}

// Whatever a client's JSON.stringify makes of a payload is read as plain, unless it needs an
// escape.
func TestPlainTakesWhatClientsWrite(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ !#-\[\]-~äß✓]{0,8}`)
		goods := rapid.Custom(func(t *rapid.T) plainGoods {
			return plainGoods{Gold: rapid.Int64Range(-1e17, 1e17).Draw(t, "gold"), Items: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) plainLine {
				return plainLine{word.Draw(t, "item"), rapid.Int64Range(-1e17, 1e17).Draw(t, "qty")}
			}), 0, 3).Draw(t, "items")}
		})
		v := plainAll{
			To: word.Draw(t, "to"), Give: goods.Draw(t, "give"), Kind: plainWord(word.Draw(t, "kind")), Yes: rapid.Bool().Draw(t, "yes"),
			Count: rapid.IntRange(-1e9, 1e9).Draw(t, "count"), Names: rapid.SliceOfN(word, 0, 3).Draw(t, "names"),
		}
		b, err := json.Marshal(v)
		require.NoError(t, err)
		require.True(t, agrees(t, string(b)), string(b))
	})
}

func FuzzPlain(f *testing.F) {
	f.Add(gift)
	f.Add(`{"to":"x","to":"y"}`)
	f.Add(`{"count":-0,"yes":true}`)
	f.Add(`{"names":["a",]}`)
	f.Fuzz(func(t *testing.T, text string) { agrees(t, text) })
}

// A type that decodes itself, or contains a kind that is not known here, is left to the library.
func TestPlainKnowsItsTypes(t *testing.T) {
	t.Parallel()
	type inner struct {
		A string `json:"a"`
	}
	type tree struct {
		Below []tree `json:"below"`
	}
	for _, v := range []any{
		new(struct {
			A any `json:"a"`
		}),
		new(struct {
			A *string `json:"a"`
		}),
		new(struct {
			A map[string]string `json:"a"`
		}),
		new(struct {
			A float64 `json:"a"`
		}),
		new(struct {
			A []byte `json:"a"`
		}),
		new(struct {
			A int64 `json:"a,string"`
		}),
		new(struct{ A string }),
		new(struct {
			inner
			B string `json:"b"`
		}),
		new(struct {
			A selfRead `json:"a"`
		}),
		new(tree),
	} {
		require.False(t, decodePlain([]byte(`{}`), reflect.ValueOf(v).Elem()), "%T", v)
	}
}

type selfRead string

func (s *selfRead) UnmarshalText(b []byte) error {
	*s = selfRead(strings.ToUpper(string(b)))
	return nil
}

func BenchmarkDecode(b *testing.B) {
	for name, text := range map[string]string{"plain": gift, "spaced": strings.Replace(gift, ":", ": ", 1)} {
		b.Run(name, func(b *testing.B) {
			raw := []byte(text)
			b.ReportAllocs()
			for b.Loop() {
				var v plainAll
				if err := Decode(raw, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
