package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
)

// issue signs a token for a user.
func issue(t *testing.T, alg jose.SignatureAlgorithm, key any, user string, changes map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	require.NoError(t, err)
	claims := map[string]any{
		"iss": "https://id.example", "aud": "game", "sub": user, "name": "The " + user, "roles": []string{"player"},
		"exp": time.Now().Add(time.Minute).Unix(),
	}
	for k, v := range changes {
		claims[k] = v
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	require.NoError(t, err)
	return `{"token":"` + token + `"}`
}

func TestATokenLogsIn(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: "k1"}}})
	}))
	t.Cleanup(keys.Close)
	g := serve(t, "--redis", redistest.URL(t), "--jwt-jwks", keys.URL, "--jwt-issuer", "https://id.example", "--jwt-audience", "game", "--trusted-proxies", "127.0.0.0/8", patientLimits, "--limit", "login=6/60s")
	from := func(addr, body string) answer {
		return do(t, "POST", g.public+"/auth/login", body, "X-Forwarded-For", "10.9.9.9, "+addr)
	}
	good := issue(t, jose.EdDSA, private, "ann", nil)
	a := from("203.0.113.1", good)
	require.Equal(t, http.StatusCreated, a.status, "%s", a.body)
	id, _ := a.json(t)["sessionId"].(string)
	require.Contains(t, a.header.Get("Set-Cookie"), "HttpOnly; Secure; SameSite=Lax")
	p := g.connect(id)
	require.Equal(t, "The ann", p.event("session")["username"])

	require.Equal(t, "UNAUTHENTICATED", from("203.0.113.2", issue(t, jose.HS256, []byte(strings.Repeat("x", 32)), "ann", nil)).problem(t))
	require.Equal(t, "UNAUTHENTICATED", from("203.0.113.2", issue(t, jose.EdDSA, private, "ann", map[string]any{"aud": "shop"})).problem(t))
	g.logged(2, "request could not be served", map[string]any{"doing": "login"})
	require.NotContains(t, g.err.String(), strings.Split(good, ".")[2], "a token is a secret")

	// The address pays for a login, and so does the account, wherever it logs in from.
	for i := range 5 {
		require.Equal(t, http.StatusCreated, from(fmt.Sprint("203.0.113.", 10+i), issue(t, jose.EdDSA, private, "bob", nil)).status)
	}
	require.Equal(t, http.StatusCreated, from("203.0.113.20", issue(t, jose.EdDSA, private, "bob", nil)).status)
	a = from("203.0.113.21", issue(t, jose.EdDSA, private, "bob", nil))
	require.Equal(t, "RATE_LIMITED", a.problem(t))
	require.Equal(t, "user", a.json(t)["scope"])
	require.NotEmpty(t, a.header.Get("Retry-After"))
	for i := range 6 {
		require.Equal(t, http.StatusCreated, from("203.0.113.30", issue(t, jose.EdDSA, private, fmt.Sprint("u", i), nil)).status)
	}
	a = from("203.0.113.30", issue(t, jose.EdDSA, private, "u9", nil))
	require.Equal(t, "RATE_LIMITED", a.problem(t))
	require.Equal(t, "ip", a.json(t)["scope"])

	renewed := do(t, "POST", g.public+"/auth/renew", "", bearer(id)...)
	require.Equal(t, http.StatusOK, renewed.status)
	require.Equal(t, "REPLACED", p.event("session:revoked")["code"])
	require.True(t, p.ended())
	fresh, _ := renewed.json(t)["sessionId"].(string)
	g.connect(fresh)
	for range 5 {
		renewed = do(t, "POST", g.public+"/auth/renew", "", bearer(fresh)...)
		require.Equal(t, http.StatusOK, renewed.status)
		fresh, _ = renewed.json(t)["sessionId"].(string)
	}
	renewed = do(t, "POST", g.public+"/auth/renew", "", bearer(fresh)...)
	require.Equal(t, "RATE_LIMITED", renewed.problem(t))
	g.connect(fresh)
}

func TestTheAddressBehindAProxyIsThePlayers(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	trusting, wary := serve(t, "--redis", url, "--trusted-proxies", "127.0.0.1"), serve(t, "--redis", url)
	for g, want := range map[*gate]string{trusting: "203.0.113.7", wary: "127.0.0.1"} {
		a := do(t, "GET", g.public+"/socket.io/?EIO=4&transport=polling", "", "X-Forwarded-For", "1.2.3.4, 203.0.113.7")
		require.Equal(t, http.StatusOK, a.status)
		var open struct{ Sid string }
		require.NoError(t, json.Unmarshal(a.body[1:], &open))
		a = do(t, "POST", g.public+"/socket.io/?EIO=4&transport=polling&sid="+open.Sid, `40{"sessionId":"`+create(t, url, "ann")+`"}`, "Content-Type", "text/plain")
		require.Equal(t, http.StatusOK, a.status)
		g.logged(1, "connection opened", map[string]any{"addr": want})
	}
}

func TestLoginSettingsAreJudged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	secret, short, set := file("secret", strings.Repeat("s", 32)+"\n"), file("short", "s"), file("set", `{"keys":[]}`)
	url := redistest.URL(t)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no such secret":      {[]string{"--jwt-secret-file", dir + "/none"}, "--jwt-secret-file"},
		"a short secret":      {[]string{"--jwt-secret-file", short, "--jwt-issuer", "i", "--jwt-audience", "a"}, "32"},
		"both":                {[]string{"--jwt-secret-file", secret, "--jwt-jwks", set}, "exclude"},
		"no keys":             {[]string{"--jwt-jwks", set, "--jwt-issuer", "i", "--jwt-audience", "a"}, "--jwt-jwks"},
		"plain HTTP":          {[]string{"--jwt-jwks", "http://id.example/keys", "--jwt-issuer", "i", "--jwt-audience", "a"}, "https"},
		"a skew of nothing":   {[]string{"--jwt-secret-file", secret, "--jwt-skew", "0s"}, "--jwt-skew"},
		"a skew of an hour":   {[]string{"--jwt-secret-file", secret, "--jwt-issuer", "i", "--jwt-audience", "a", "--jwt-skew", "1h"}, "skew"},
		"tokens for all":      {[]string{"--jwt-secret-file", secret}, "--jwt-issuer"},
		"of any issuer":       {[]string{"--jwt-secret-file", secret, "--jwt-audience", "game"}, "--jwt-issuer"},
		"for any audience":    {[]string{"--jwt-secret-file", secret, "--jwt-issuer", "https://id.example"}, "--jwt-audience"},
		"public keys for all": {[]string{"--jwt-jwks", set}, "--jwt-issuer"},
		"express, no secret":  {[]string{"--session-source", "express"}, "--session-secret-file"},
		"an empty secret":     {[]string{"--session-source", "express", "--session-secret-file", file("empty", "\n\n")}, "empty"},
		"no such source":      {[]string{"--session-source", "php"}, "--session-source"},
		"a secret for nobody": {[]string{"--session-secret-file", secret}, "--session-source"},
		"a proxy by name":     {[]string{"--trusted-proxies", "proxy.internal"}, "--trusted-proxies"},
	} {
		_, errs, code := command(t, append([]string{"serve", "--addr", "127.0.0.1:0", "--admin-addr", "", "--redis", url}, c.args...)...)
		require.Equal(t, cli.ExitUsage, code, "%s: %s", name, errs)
		require.Contains(t, errs, c.want, name)
	}
}

func TestOnlyOnesOwnCharacter(t *testing.T) {
	t.Parallel()
	people := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		owner, ok := map[string]string{"/characters/hers": "ann", "/characters/his": "bob"}[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"characterId": strings.TrimPrefix(r.URL.Path, "/characters/"), "ownerId": owner, "name": "x", "class": "knight", "level": 1,
			"stats": map[string]int{"maxHp": 10, "maxEnergy": 10, "attack": 1, "defense": 1, "speed": 1},
		})
	}))
	t.Cleanup(people.Close)
	url := redistest.URL(t)
	g := serve(t, "--redis", url, "--profiles-url", people.URL)
	p := g.connect(create(t, url, "ann"))
	require.Equal(t, "hers", p.ok("session:character", `{"characterId":"hers"}`)["characterId"])
	require.Equal(t, "FORBIDDEN", p.refused("session:character", `{"characterId":"his"}`)["code"])
	require.Equal(t, "FORBIDDEN", p.refused("session:character", `{"characterId":"nobodys"}`)["code"])
	people.Close()
	require.Equal(t, "UNAVAILABLE", p.refused("session:character", `{"characterId":"his"}`)["code"])
}

// Without --dev nobody is believed: without a profile service, a user plays whom a login named, and
// --env changes nothing of it. So nobody takes another player's character and gives its goods away.
func TestOnlyDevBelievesPlayers(t *testing.T) {
	t.Parallel()
	secret := writeFile(t, strings.Repeat("s", 32)+"\n")
	for _, env := range []string{"", "development", "production"} {
		t.Run(env, func(t *testing.T) {
			t.Parallel()
			url := redistest.URL(t)
			args := []string{"--redis", url, "--jwt-secret-file", secret, "--jwt-issuer", "https://id.example", "--jwt-audience", "game"}
			if env != "" {
				args = append(args, "--env", env)
			}
			g := serve(t, args...)
			requireStrangersAreNotBelieved(t, g, url)
		})
	}
	t.Run("--dev", func(t *testing.T) {
		t.Parallel()
		url := redistest.URL(t)
		g := serve(t, "--redis", url, "--dev", "--jwt-secret-file", secret)
		g.connect(create(t, url, "bob", "--character", "his"))
		p := g.connect(g.guest("ann"))
		require.Equal(t, "his", p.ok("session:character", `{"characterId":"his"}`)["characterId"])
	})
}

func requireStrangersAreNotBelieved(t *testing.T, g *gate, url string) {
	t.Helper()
	guest := do(t, "POST", g.public+"/auth/login", `{"username":"ann"}`)
	require.NotEqual(t, http.StatusCreated, guest.status, "there are no guests")
	g.connect(create(t, url, "bob", "--character", "his"))
	p := g.connect(create(t, url, "ann", "--character", "hers"))
	require.Equal(t, "FORBIDDEN", p.refused("session:character", `{"characterId":"his"}`)["code"])
	require.Equal(t, "hers", p.ok("session:character", `{"characterId":"hers"}`)["characterId"])
	p = g.connect(create(t, url, "eve"))
	require.Equal(t, "FORBIDDEN", p.refused("session:character", `{"characterId":"his"}`)["code"])
	must(t, "trade", "mint", "--character", "his", "--gold", "9", "--redis", url)
	refused := p.refused("trade:execute", `{"to":"ann","give":{"items":[],"gold":9},"idempotencyKey":"k"}`)
	require.NotEmpty(t, refused["code"])
	require.Contains(t, must(t, "trade", "audit", "--redis", url), "0 trades, 1 mints")
}

// SIGHUP reads the files of secrets again. A file that is wrong changes nothing.
func TestSecretsAreReadAgain(t *testing.T) { // not parallel: the signal reaches every gateway of this process
	dir := t.TempDir()
	jwtFile, siteFile := filepath.Join(dir, "jwt"), filepath.Join(dir, "site")
	secrets := []string{strings.Repeat("a", 32), strings.Repeat("b", 32)}
	write := func(file, text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write(jwtFile, secrets[0]+"\n")
	write(siteFile, "first\n")
	url := redistest.URL(t)
	g := serve(t, "--redis", url, "--jwt-secret-file", jwtFile, "--jwt-issuer", "https://id.example", "--jwt-audience", "game", "--session-source", "express", "--session-secret-file", siteFile,
		"--limit", "login=off", "--limit", "api=off")
	logIn := func(secret string) int {
		return do(t, "POST", g.public+"/auth/login", issue(t, jose.HS256, []byte(secret), "ann", nil)).status
	}
	require.Equal(t, http.StatusCreated, logIn(secrets[0]))
	require.Equal(t, http.StatusUnauthorized, logIn(secrets[1]))

	write(jwtFile, "too short\n")
	write(siteFile, "\n")
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	line := g.logged(1, "secrets could not be read again: the old ones stay", nil)
	require.Contains(t, line[0]["error"], "needs 32")
	require.Contains(t, line[0]["error"], "--session-secret-file")
	require.Equal(t, http.StatusCreated, logIn(secrets[0]))

	write(jwtFile, secrets[1]+"\n")
	write(siteFile, "second\n")
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	g.logged(1, "settings read again: secrets", nil)
	require.Equal(t, http.StatusCreated, logIn(secrets[1]))
	require.Equal(t, http.StatusUnauthorized, logIn(secrets[0]))
}
