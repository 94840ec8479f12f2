package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/aeturnis/realtime/fault"
)

// ErrBadToken answers a login whose token is not valid. Its cause gives the reason, for the log.
var ErrBadToken = fault.New(fault.ErrUnauthenticated.Code, "That token is not valid.")

// TokenConfig says which tokens of the studio's identity provider are valid.
type TokenConfig struct {
	// Secret is the provider's HS256 secret, at least 32 bytes. Set either Secret or JWKS.
	Secret []byte
	// JWKS is where the provider's public keys are, for RS256, ES256 and EdDSA: an https URL (http
	// on loopback), or a file.
	JWKS string
	// Issuer and Audience are what iss must be and what aud must contain; empty is not checked.
	Issuer, Audience string
	// Skew is how far the provider's clock may be off, for exp, nbf and iat; 30 s when zero, five
	// minutes at most.
	Skew time.Duration
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Tokens verifies JSON Web Tokens. Any number of goroutines may use it.
//
// The configured keys alone decide which algorithms are accepted, never the token: HS256 with a
// secret; RS256, ES256 and EdDSA with a JWKS, each with a key of its own kind. So `alg: none`, and
// a public key used as an HMAC secret, are refused before anything is verified. RSA keys need at
// least 2,048 bits.
type Tokens struct {
	cfg        TokenConfig
	algorithms []jose.SignatureAlgorithm
	keys       *keySet                // nil when there is a secret
	secret     atomic.Pointer[[]byte] // nil when there are keys; replaced by SetSecret
}

const (
	maxToken  = 16 << 10 // bytes
	minSecret = 32       // bytes, as many as the hash has (RFC 7518, 3.2)
	maxSkew   = 5 * time.Minute
)

// NewTokens returns a Tokens. It does not read the JWKS yet: Load does, or the first token.
func NewTokens(cfg TokenConfig) (*Tokens, error) {
	if cfg.Skew == 0 {
		cfg.Skew = 30 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	t := &Tokens{cfg: cfg, algorithms: []jose.SignatureAlgorithm{jose.HS256}}
	switch {
	case cfg.Skew < 0 || cfg.Skew > maxSkew:
		return nil, fmt.Errorf("the clock skew must be 0 to %s", maxSkew)
	case (len(cfg.Secret) > 0) == (cfg.JWKS != ""):
		return nil, errors.New("exactly one of a secret and a JWKS is needed")
	case cfg.JWKS != "":
		keys, err := newKeySet(cfg.JWKS, cfg.Now)
		if err != nil {
			return nil, err
		}
		t.keys, t.algorithms = keys, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}
	default:
		if err := t.SetSecret(cfg.Secret); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// SetSecret replaces the secret: from now on only tokens that are signed with the new one are
// valid. After an error, which says that it is too short, the old one stays. Call it only where
// TokenConfig has a secret.
func (t *Tokens) SetSecret(secret []byte) error {
	if len(secret) < minSecret {
		return fmt.Errorf("the secret has %d bytes, but needs %d", len(secret), minSecret)
	}
	t.secret.Store(&secret)
	return nil
}

// Load reads the JWKS, so that a mistake shows at the start.
func (t *Tokens) Load(ctx context.Context) error {
	if t.keys == nil {
		return nil
	}
	return t.keys.loadKeys(ctx)
}

// An Identity is the user that a token names.
type Identity struct {
	UserID      string   // sub
	Username    string   // name, else preferred_username, else sub
	CharacterID string   // characterId; may be ""
	Roles       []string // roles, a list of strings
}

type customClaims struct {
	Name              string   `json:"name"`
	PreferredUsername string   `json:"preferred_username"`
	CharacterID       string   `json:"characterId"`
	Roles             []string `json:"roles"`
}

// Verify verifies a token. It returns ErrBadToken when the token is not valid: its form, algorithm
// or signature is wrong, iss, aud, exp, nbf or iat does not fit, or exp or sub is missing. Where
// only the time is wrong, it returns the user together with ErrBadToken: the provider did sign that
// name. Any other error means that the keys could not be read.
func (t *Tokens) Verify(ctx context.Context, token string) (Identity, error) {
	parsed, err := t.parseToken(token)
	if err != nil {
		return Identity{}, ErrBadToken.Because(truncateError(err))
	}
	keys, err := t.candidateKeys(ctx, parsed.Headers[0])
	if err != nil {
		return Identity{}, fmt.Errorf("read the token keys: %w", err)
	}
	err = errors.New("no key matches the token")
	for _, key := range keys {
		var standard jwt.Claims
		var own customClaims
		if err = parsed.Claims(key, &standard, &own); err != nil {
			continue
		}
		id, err := t.validateClaims(standard, own)
		if err != nil {
			return id, ErrBadToken.Because(err)
		}
		return id, nil
	}
	return Identity{}, ErrBadToken.Because(err)
}

// truncateError bounds what an error quotes of a token.
func truncateError(err error) error {
	if text := err.Error(); len(text) > 200 {
		return errors.New(strings.ToValidUTF8(text[:200], "?"))
	}
	return err
}

// parseToken parses compact tokens with one of our algorithms.
func (t *Tokens) parseToken(token string) (*jwt.JSONWebToken, error) {
	if len(token) > maxToken {
		return nil, errors.New("the token is too long")
	}
	parsed, err := jwt.ParseSigned(token, t.algorithms)
	if err != nil {
		return nil, err
	}
	if len(parsed.Headers) != 1 {
		return nil, errors.New("the token must have one signature")
	}
	return parsed, nil
}

// candidateKeys returns the keys that may have signed a token with that header.
func (t *Tokens) candidateKeys(ctx context.Context, header jose.Header) ([]any, error) {
	if t.keys == nil {
		return []any{*t.secret.Load()}, nil
	}
	found, err := t.keys.findKeys(ctx, header.KeyID)
	if err != nil {
		return nil, err
	}
	var keys []any
	for _, k := range found {
		if (k.Algorithm == "" || k.Algorithm == header.Algorithm) && fitsAlgorithm(header.Algorithm, k.Key) {
			keys = append(keys, k.Key)
		}
	}
	return keys, nil
}

// fitsAlgorithm reports whether a key is of the kind that an algorithm needs.
func fitsAlgorithm(algorithm string, key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return algorithm == string(jose.RS256) && k.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		return algorithm == string(jose.ES256) && k.Curve.Params().BitSize == 256
	case ed25519.PublicKey:
		return algorithm == string(jose.EdDSA)
	}
	return false
}

// validateClaims checks the claims of a token whose signature is valid. Where only the time is
// wrong, it returns the user with the error.
func (t *Tokens) validateClaims(standard jwt.Claims, own customClaims) (Identity, error) {
	want := jwt.Expected{Issuer: t.cfg.Issuer, Time: t.cfg.Now()}
	if t.cfg.Audience != "" {
		want.AnyAudience = jwt.Audience{t.cfg.Audience}
	}
	switch {
	case standard.Expiry == nil:
		return Identity{}, errors.New("the token has no exp")
	case standard.Subject == "":
		return Identity{}, errors.New("the token has no sub")
	}
	switch err := standard.ValidateWithLeeway(want, t.cfg.Skew); {
	case errors.Is(err, jwt.ErrExpired), errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return Identity{UserID: standard.Subject}, err // these are checked last
	case err != nil:
		return Identity{}, err
	}
	out := Identity{UserID: standard.Subject, Username: standard.Subject, CharacterID: own.CharacterID, Roles: own.Roles}
	if own.PreferredUsername != "" {
		out.Username = own.PreferredUsername
	}
	if own.Name != "" {
		out.Username = own.Name
	}
	return out, nil
}
