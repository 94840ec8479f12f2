package auth_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/auth"
)

const issuer, audience = "https://id.example", "game"

var secret = []byte("0123456789abcdef0123456789abcdef")

// noon is the clock of these tests.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

type object = map[string]any

// good are claims that stand at noon, changed: nil takes one away.
func good(changes object) object {
	c := object{
		"iss": issuer, "aud": audience, "sub": "u7", "name": "Ann", "roles": []string{"player"}, "characterId": "c7",
		"exp": noon.Add(time.Minute).Unix(), "nbf": noon.Unix(), "iat": noon.Unix(),
	}
	for k, v := range changes {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return c
}

// sign makes a token; kid "" is left out of its header.
func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, kid string, claims object) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithType("JWT")
	if kid != "" {
		o = o.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	require.NoError(t, err)
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	require.NoError(t, err)
	return token
}

// unsigned puts a token together by hand.
func unsigned(header, payload, signature string) string {
	b := base64.RawURLEncoding
	return b.EncodeToString([]byte(header)) + "." + b.EncodeToString([]byte(payload)) + "." + b.EncodeToString([]byte(signature))
}

func tokens(t testing.TB, cfg auth.TokenConfig) *auth.Tokens {
	t.Helper()
	cfg.Now = func() time.Time { return noon }
	cfg.Issuer, cfg.Audience = issuer, audience
	v, err := auth.NewTokens(cfg)
	require.NoError(t, err)
	return v
}

func TestTokensWithASecret(t *testing.T) {
	t.Parallel()
	v := tokens(t, auth.TokenConfig{Secret: secret})
	at := func(d time.Duration) int64 { return noon.Add(d).Unix() }
	hs := func(changes object) string { return sign(t, jose.HS256, secret, "", good(changes)) }
	text, err := json.Marshal(good(nil))
	require.NoError(t, err)
	stands := hs(nil)
	parts := strings.Split(stands, ".")

	for name, c := range map[string]struct {
		token string
		want  bool
	}{
		"good":                       {stands, true},
		"expired, within the skew":   {hs(object{"exp": at(-29 * time.Second)}), true},
		"expired":                    {hs(object{"exp": at(-31 * time.Second)}), false},
		"not yet, within the skew":   {hs(object{"nbf": at(29 * time.Second)}), true},
		"not yet":                    {hs(object{"nbf": at(31 * time.Second)}), false},
		"issued in the future":       {hs(object{"iat": at(time.Minute)}), false},
		"without nbf and iat":        {hs(object{"nbf": nil, "iat": nil}), true},
		"without exp":                {hs(object{"exp": nil}), false},
		"exp is a text":              {hs(object{"exp": "tomorrow"}), false},
		"exp beyond numbers":         {hs(object{"exp": 1e300}), false},
		"other issuer":               {hs(object{"iss": "https://evil.example"}), false},
		"without issuer":             {hs(object{"iss": nil}), false},
		"other audience":             {hs(object{"aud": "shop"}), false},
		"without audience":           {hs(object{"aud": nil}), false},
		"one of several audiences":   {hs(object{"aud": []string{"shop", audience}}), true},
		"without sub":                {hs(object{"sub": nil}), false},
		"sub is a number":            {hs(object{"sub": 7}), false},
		"roles are a text":           {hs(object{"roles": "admin"}), false},
		"without roles":              {hs(object{"roles": nil}), true},
		"other secret":               {sign(t, jose.HS256, []byte(strings.Repeat("x", 32)), "", good(nil)), false},
		"stronger hash":              {sign(t, jose.HS512, []byte(strings.Repeat("x", 64)), "", good(nil)), false},
		"alg none":                   {unsigned(`{"alg":"none"}`, string(text), ""), false},
		"alg None":                   {unsigned(`{"alg":"None"}`, string(text), ""), false},
		"alg none, old signature":    {unsigned(`{"alg":"none"}`, string(text), "x"), false},
		"no alg":                     {unsigned(`{}`, string(text), "x"), false},
		"two algs":                   {unsigned(`{"alg":"none","alg":"HS256"}`, string(text), "x"), false},
		"unknown critical extension": {unsigned(`{"alg":"HS256","crit":["x"],"x":1}`, string(text), "x"), false},
		"payload changed":            {parts[0] + "." + base64.RawURLEncoding.EncodeToString(append(text[:len(text)-1], `,"admin":1}`...)) + "." + parts[2], false},
		"signature cut":              {stands[:len(stands)-4], false},
		"no signature":               {parts[0] + "." + parts[1] + ".", false},
		"two parts":                  {parts[0] + "." + parts[1], false},
		"four parts":                 {stands + ".x", false},
		"spaces":                     {" " + stands, false},
		"JSON form":                  {`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, false},
		"empty":                      {"", false},
		"NUL":                        {"\x00", false},
		"no JSON inside":             {sign(t, jose.HS256, secret, "", nil)[:20] + "..", false},
		"over 16 KB":                 {hs(object{"padding": strings.Repeat("x", 16<<10)}), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, err := v.Verify(t.Context(), c.token)
			if !c.want {
				require.ErrorIs(t, err, auth.ErrBadToken)
				id.UserID = "" // TestWhomABadTokenNames
				require.Zero(t, id)
				require.Less(t, len(err.Error()), 300)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "u7", id.UserID)
		})
	}
	id, err := v.Verify(t.Context(), stands)
	require.NoError(t, err)
	require.Equal(t, auth.Identity{UserID: "u7", Username: "Ann", CharacterID: "c7", Roles: []string{"player"}}, id)
	id, err = v.Verify(t.Context(), hs(object{"name": nil, "preferred_username": "ann7"}))
	require.NoError(t, err)
	require.Equal(t, "ann7", id.Username)
}

// A name is believed only if the provider signed it for us.
func TestWhomABadTokenNames(t *testing.T) {
	t.Parallel()
	v := tokens(t, auth.TokenConfig{Secret: secret, Issuer: "https://id.example", Audience: "game"})
	ours := object{"iss": "https://id.example", "aud": "game"}
	with := func(key string, value any) object {
		claims := maps.Clone(ours)
		claims[key] = value
		return claims
	}
	for name, c := range map[string]struct {
		token, user string
	}{
		"expired":             {sign(t, jose.HS256, secret, "", good(with("exp", noon.Add(-time.Hour).Unix()))), "u7"},
		"not yet valid":       {sign(t, jose.HS256, secret, "", good(with("nbf", noon.Add(time.Hour).Unix()))), "u7"},
		"for another service": {sign(t, jose.HS256, secret, "", good(with("aud", "shop"))), ""},
		"of another issuer":   {sign(t, jose.HS256, secret, "", good(with("iss", "https://evil.example"))), ""},
		"both":                {sign(t, jose.HS256, secret, "", good(object{"aud": "shop", "iss": "https://id.example", "exp": noon.Add(-time.Hour).Unix()})), ""},
		"forged":              {sign(t, jose.HS256, []byte(strings.Repeat("x", 32)), "", good(ours)), ""},
		"forged and expired":  {sign(t, jose.HS256, []byte(strings.Repeat("x", 32)), "", good(with("exp", noon.Add(-time.Hour).Unix()))), ""},
		"unsigned":            {unsigned(`{"alg":"none"}`, `{"sub":"u7"}`, ""), ""},
		"no token":            {"x", ""},
	} {
		id, err := v.Verify(t.Context(), c.token)
		require.ErrorIs(t, err, auth.ErrBadToken, name)
		require.Equal(t, auth.Identity{UserID: c.user}, id, name)
	}
}

// provider is an identity provider with a key of each kind, and more that do not count.
type provider struct {
	rsa, weak *rsa.PrivateKey
	ec        *ecdsa.PrivateKey
	ed        ed25519.PrivateKey
}

func newProvider(t testing.TB) *provider {
	t.Helper()
	p := &provider{}
	var err error
	p.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p.weak, err = rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // to be refused
	require.NoError(t, err)
	p.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, p.ed, err = ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return p
}

func (p *provider) set(t testing.TB) []byte {
	t.Helper()
	key := func(kid, alg, use string, key any) jose.JSONWebKey {
		return jose.JSONWebKey{KeyID: kid, Algorithm: alg, Use: use, Key: key}
	}
	set, err := json.Marshal(object{"keys": []any{
		key("rsa", "RS256", "sig", p.rsa.Public()), key("ec", "", "", p.ec.Public()), key("ed", "EdDSA", "sig", p.ed.Public()),
		key("pss", "PS256", "sig", p.rsa.Public()), key("weak", "RS256", "sig", p.weak.Public()), key("enc", "", "enc", p.rsa.Public()),
		key("oct", "HS256", "sig", secret), key("private", "RS256", "sig", p.rsa),
		object{"kty": "new", "kid": "x"},
		7,
	}})
	require.NoError(t, err)
	return set
}

func TestTokensWithPublicKeys(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	file := filepath.Join(t.TempDir(), "jwks.json")
	require.NoError(t, os.WriteFile(file, p.set(t), 0o600))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(p.set(t)) }))
	t.Cleanup(web.Close)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(p.rsa.Public())
	require.NoError(t, err)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})

	for source, v := range map[string]*auth.Tokens{
		"file": tokens(t, auth.TokenConfig{JWKS: file}), "URL": tokens(t, auth.TokenConfig{JWKS: web.URL}),
	} {
		require.NoError(t, v.Load(t.Context()))
		for name, c := range map[string]struct {
			alg  jose.SignatureAlgorithm
			key  any
			kid  string
			want bool
		}{
			"RS256":                            {jose.RS256, p.rsa, "rsa", true},
			"ES256":                            {jose.ES256, p.ec, "ec", true},
			"EdDSA":                            {jose.EdDSA, p.ed, "ed", true},
			"no kid":                           {jose.EdDSA, p.ed, "", true},
			"unknown kid":                      {jose.RS256, p.rsa, "old", false},
			"another's kid":                    {jose.RS256, p.rsa, "ec", false},
			"another's key":                    {jose.RS256, other, "rsa", false},
			"RS512":                            {jose.RS512, p.rsa, "rsa", false},
			"PS256":                            {jose.PS256, p.rsa, "pss", false},
			"a key for PS256":                  {jose.RS256, p.rsa, "pss", false},
			"weak RSA":                         {jose.RS256, p.weak, "weak", false},
			"a key for encryption":             {jose.RS256, p.rsa, "enc", false},
			"a private key in the set":         {jose.RS256, p.rsa, "private", false},
			"a secret in the set":              {jose.HS256, secret, "oct", false},
			"HMAC with the public key's PEM":   {jose.HS256, public, "rsa", false},
			"HMAC with the public key's DER":   {jose.HS256, der, "rsa", false},
			"HMAC with the modulus":            {jose.HS256, p.rsa.N.Bytes(), "rsa", false},
			"HMAC with the Ed25519 public key": {jose.HS256, []byte(p.ed.Public().(ed25519.PublicKey)), "ed", false},
		} {
			_, err := v.Verify(t.Context(), sign(t, c.alg, c.key, c.kid, good(nil)))
			if c.want {
				require.NoError(t, err, "%s: %s", source, name)
			} else {
				require.ErrorIs(t, err, auth.ErrBadToken, "%s: %s", source, name)
			}
		}
		// A token that brings its own key is not believed.
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: other}, (&jose.SignerOptions{EmbedJWK: true}).WithHeader("jku", "https://evil.example"))
		require.NoError(t, err)
		token, err := jwt.Signed(signer).Claims(good(nil)).Serialize()
		require.NoError(t, err)
		_, err = v.Verify(t.Context(), token)
		require.ErrorIs(t, err, auth.ErrBadToken, source)
	}
}

func TestKeysAreReadAgain(t *testing.T) {
	t.Parallel()
	before, after := newProvider(t), newProvider(t)
	var asked atomic.Int32
	var current atomic.Pointer[provider]
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if p := current.Load(); p != nil {
			_, _ = w.Write(p.set(t))
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(web.Close)
	var now atomic.Int64
	now.Store(noon.Unix())
	v, err := auth.NewTokens(auth.TokenConfig{JWKS: web.URL, Skew: 5 * time.Minute, Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	require.NoError(t, err)
	old := sign(t, jose.EdDSA, before.ed, "ed", good(object{"exp": noon.Add(24 * time.Hour).Unix()}))
	fresh := sign(t, jose.EdDSA, after.ed, "new", good(object{"exp": noon.Add(24 * time.Hour).Unix()}))

	for range 5 { // the provider is away; it is not asked each time
		_, err = v.Verify(t.Context(), old)
		require.ErrorContains(t, err, "status 502")
		require.NotErrorIs(t, err, auth.ErrBadToken)
	}
	require.EqualValues(t, 1, asked.Load())
	current.Store(before)
	now.Add(11)
	_, err = v.Verify(t.Context(), old)
	require.NoError(t, err)
	require.EqualValues(t, 2, asked.Load())

	for range 100 { // made-up key ids: the set that lacks them was just read
		_, err = v.Verify(t.Context(), fresh)
		require.ErrorIs(t, err, auth.ErrBadToken)
	}
	require.EqualValues(t, 2, asked.Load())
	current.Store(nil)
	now.Add(2 * 3600)
	_, err = v.Verify(t.Context(), old)
	require.NoError(t, err, "known keys go on while the provider is away")
	require.EqualValues(t, 3, asked.Load())
	_, err = v.Verify(t.Context(), fresh)
	require.ErrorContains(t, err, "status 502", "nobody knows whether the provider has that key by now")
	require.NotErrorIs(t, err, auth.ErrBadToken)
}

func TestTokenConfigIsJudged(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]auth.TokenConfig{
		"neither":           {},
		"both":              {Secret: secret, JWKS: "https://id.example/keys"},
		"a short secret":    {Secret: secret[:31]},
		"plain HTTP":        {JWKS: "http://id.example/keys"},
		"another scheme":    {JWKS: "ftp://id.example/keys"},
		"a skew of an hour": {Secret: secret, Skew: time.Hour},
		"a negative skew":   {Secret: secret, Skew: -1},
	} {
		_, err := auth.NewTokens(cfg)
		require.Error(t, err, name)
	}
	for name, text := range map[string]string{"no JSON": "x", "no keys": `{"keys":[]}`, "only secrets": `{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`, "a list": `[]`} {
		file := filepath.Join(t.TempDir(), "jwks.json")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		v, err := auth.NewTokens(auth.TokenConfig{JWKS: file})
		require.NoError(t, err)
		require.ErrorContains(t, v.Load(t.Context()), "read JWKS", name)
	}
}

// No token causes a panic, and only a token that was signed here is valid.
func FuzzToken(f *testing.F) {
	v := tokens(f, auth.TokenConfig{Secret: secret})
	stands := sign(f, jose.HS256, secret, "", good(nil))
	f.Add(stands)
	f.Add(unsigned(`{"alg":"none"}`, `{"sub":"u7"}`, ""))
	f.Add("..")
	f.Add(sign(f, jose.HS256, []byte(strings.Repeat("x", 32)), "kid", good(object{"aud": []string{"a", "b"}})))
	f.Fuzz(func(t *testing.T, token string) {
		id, err := v.Verify(t.Context(), token)
		if err == nil && token != stands { // the encoding may differ, the claims may not
			require.Equal(t, "u7", id.UserID)
			require.Equal(t, strings.Split(stands, ".")[1], strings.Split(token, ".")[1])
		}
	})
}

// A secret can be replaced while tokens are checked; one that is too short changes nothing.
func TestSecretsCanBeReplaced(t *testing.T) {
	t.Parallel()
	v := tokens(t, auth.TokenConfig{Secret: secret})
	fresh := []byte(strings.Repeat("n", 32))
	isValid := func(secret []byte) bool {
		_, err := v.Verify(t.Context(), sign(t, jose.HS256, secret, "", good(nil)))
		return err == nil
	}
	require.Error(t, v.SetSecret(fresh[:31]))
	require.True(t, isValid(secret))
	require.NoError(t, v.SetSecret(fresh))
	require.True(t, isValid(fresh))
	require.False(t, isValid(secret))
}
