package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/serverapi"
)

// leastInputs is what each call needs besides the field that is tried.
var leastInputs = map[string]string{
	"cast":             `{"all":true,"event":"x:y"}`,
	"connections.join": `{"userId":"ann","room":"game:x"}`, "connections.leave": `{"userId":"ann","room":"game:x"}`,
	"presence.user": `{"userId":"ann"}`, "history": `{"channel":"global"}`,
	"sessions.create": `{"userId":"ann","username":"Ann"}`, "sessions.revoke": `{"userId":"ann"}`,
	"bans.show": `{"userId":"ann"}`, "bans.set": `{"userId":"ann","forMs":60000}`, "bans.lift": `{"userId":"ann"}`,
	"sanctions.list": `{"userId":"ann"}`, "sanctions.impose": `{"kind":"mute","userId":"ann","forMs":60000}`, "sanctions.lift": `{"kind":"mute","userId":"ann"}`,
	"goods.mint": `{"characterId":"x","gold":1}`, "goods.inventory": `{"characterId":"x"}`, "goods.trade": `{"tradeId":"x"}`,
	"limits.set": `{"rules":["chat=1/1s"]}`,
	"batch":      `{"calls":[{"call":"limits.show"}]}`,
}

// tooMuch returns the fields of a type that can grow, by their path, each with more than may be.
func tooMuch(t reflect.Type, text string) map[string]any {
	found := map[string]any{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch kind := f.Type.Kind(); {
		case kind == reflect.String:
			found[name] = text
		case f.Type.Name() == "Value": // any JSON
			found[name] = text
		case kind == reflect.Slice && f.Type.Elem().Kind() == reflect.String:
			found[name], found[name+"[0]"] = strings.Split(strings.Repeat("x,", 4999)+"x", ","), []any{text}
		case kind == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			found[name] = make([]map[string]any, 4000)
			for inner, value := range tooMuch(f.Type.Elem(), text) {
				found[name+"[0]."+inner] = []any{map[string]any{inner: value}}
			}
		case kind == reflect.Bool || kind == reflect.Int || kind == reflect.Int64:
		default:
			panic(fmt.Sprintf("%s.%s: a %s, whose bound this test does not know", t, f.Name, f.Type))
		}
	}
	return found
}

// TestServerAPIFieldsAreBounded tries every text and every list of every call of the table with
// more than may be: it is refused, and the refusal names the field.
func TestServerAPIFieldsAreBounded(t *testing.T) {
	t.Parallel()
	f := newAPIFile(t)
	g := serveAPI(t, f.with("--name", "shop", "--scope", allScopes), "--redis", redistest.URL(t), "--dev", patientLimits)
	a := g.api(f.key)
	calls := append(serverapi.Calls(), serverapi.Call{Name: "batch", Method: "POST", Path: serverapi.Root + "batch", In: reflect.TypeFor[serverapi.Batch]()})
	tried := 0
	for _, c := range calls {
		if c.In.NumField() == 0 {
			continue
		}
		least := map[string]any{}
		if text := leastInputs[c.Name]; text != "" {
			require.NoError(t, json.Unmarshal([]byte(text), &least))
		}
		text := strings.Repeat("x", 300_000)
		if !c.HasEffect() {
			text = text[:5000]
		}
		path := strings.TrimPrefix(c.Path, serverapi.Root)
		for field, value := range tooMuch(c.In, text) {
			if c.Name == "batch" && field == "calls[0].body" { // what each call makes of it is tried above
				continue
			}
			in := maps.Clone(least)
			name, _, _ := strings.Cut(field, "[")
			in[name] = value
			if c.Name == "batch" && field == "calls[0].idempotencyKey" {
				in[name].([]any)[0].(map[string]any)["call"] = "goods.mint"
			}
			var r answer
			if c.HasEffect() {
				raw, err := json.Marshal(in)
				require.NoError(t, err)
				r = a.do("POST", path, string(raw))
			} else {
				query := url.Values{}
				for name, value := range in {
					query.Set(name, fmt.Sprint(value))
				}
				r = a.do("GET", path+"?"+query.Encode(), "")
			}
			require.Contains(t, []string{"INVALID", "PAYLOAD_TOO_LARGE"}, r.problem(t), "%s %s: %.300s", c.Name, field, r.body)
			require.Equal(t, field, r.json(t)["field"], "%s: %.300s", c.Name, r.body)
			tried++
		}
	}
	require.GreaterOrEqual(t, tried, 45)
	require.Equal(t, 0.0, a.get("goods/inventory?characterId=x")["gold"])
	require.Empty(t, a.get("sessions?userId=ann")["sessions"])
}

// TestServerAPIKeepsLongAnswers is a repeat of the login with the longest answer there is, alone
// and in a batch: it gets the same answer, on another node too.
func TestServerAPIKeepsLongAnswers(t *testing.T) {
	t.Parallel()
	f := newAPIFile(t)
	redis := redistest.URL(t)
	f.add("--name", "shop", "--scope", "sessions")
	one, two := serveAPI(t, f, "--redis", redis, "--dev", patientLimits), serveAPI(t, f, "--redis", redis, "--dev", patientLimits)
	var roles []string
	for i := range 64 {
		roles = append(roles, fmt.Sprintf("%02d", i)+strings.Repeat(`"`, 62))
	}
	login := map[string]any{"userId": strings.Repeat(`"`, 128), "username": strings.Repeat("\"", 512), "characterId": strings.Repeat(`\`, 128), "roles": roles}
	raw, err := json.Marshal(login)
	require.NoError(t, err)
	body := string(raw)
	first := one.api(f.key).do("POST", "sessions/create", body, "Idempotency-Key", "k")
	require.Equal(t, 200, first.status, "%s", first.body)
	require.Greater(t, len(first.body), 8000)
	for _, g := range []*gate{one, two, two} {
		again := g.api(f.key).do("POST", "sessions/create", body, "Idempotency-Key", "k")
		require.Equal(t, string(first.body), string(again.body))
	}
	batch := `{"calls":[{"call":"sessions.create","body":` + body + `},{"call":"sessions.create","body":` + body + `,"idempotencyKey":"k"}]}`
	whole := one.api(f.key).do("POST", "batch", batch, "Idempotency-Key", "b")
	require.Equal(t, 200, whole.status, "%s", whole.body)
	for _, g := range []*gate{one, two} {
		require.Equal(t, string(whole.body), string(g.api(f.key).do("POST", "batch", batch, "Idempotency-Key", "b").body))
	}
	require.Len(t, one.api(f.key).get("sessions?userId=" + url.QueryEscape(strings.Repeat(`"`, 128)))["sessions"], 2)

	login["roles"] = append(roles[:63:63], roles[63]+"x")
	raw, err = json.Marshal(login)
	require.NoError(t, err)
	r := one.api(f.key).do("POST", "sessions/create", string(raw), "Idempotency-Key", "more")
	require.Equal(t, "INVALID", r.problem(t), "roles of 4,097 bytes")
	require.Equal(t, "roles", r.json(t)["field"])
}
