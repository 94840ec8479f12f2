package server

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/aeturnis/realtime/auth"
	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/gateway/engineio"
	"github.com/aeturnis/realtime/internal/usage"
	"github.com/aeturnis/realtime/keys"
	"github.com/aeturnis/realtime/redisconn"
	"github.com/aeturnis/realtime/sessions"
	"github.com/aeturnis/realtime/throttle"
)

// tokenVerifier returns what checks the tokens of POST /auth/login, or nil when none are taken.
func (c *Config) tokenVerifier() (*auth.Tokens, error) {
	cfg := auth.TokenConfig{JWKS: c.JWTKeySet, Issuer: c.JWTIssuer, Audience: c.JWTAudience, Skew: c.JWTSkew}
	if c.JWTSecretFile == "" && c.JWTKeySet == "" {
		return nil, nil
	}
	if c.JWTSecretFile != "" {
		var err error
		if cfg.Secret, err = c.readJWTSecret(); err != nil {
			return nil, err
		}
	}
	switch {
	case c.JWTSkew <= 0:
		return nil, usage.Errorf("--jwt-skew must be positive")
	case c.JWTSecretFile != "" && c.JWTKeySet != "":
		return nil, usage.Errorf("--jwt-secret-file and --jwt-jwks exclude each other")
	case !c.Dev && (c.JWTIssuer == "" || c.JWTAudience == ""):
		return nil, usage.Errorf("--jwt-issuer and --jwt-audience are required: else tokens for others would log in here; only --dev does without")
	}
	t, err := auth.NewTokens(cfg)
	if err != nil {
		return nil, usage.Errorf("tokens: %w", err)
	}
	return t, nil
}

// readJWTSecret reads the secret of JWTSecretFile.
func (c *Config) readJWTSecret() ([]byte, error) {
	raw, err := os.ReadFile(c.JWTSecretFile)
	if err != nil {
		return nil, usage.Errorf("--jwt-secret-file: %w", err)
	}
	return bytes.TrimRight(raw, "\r\n"), nil
}

// readExpressSecrets reads the secrets of ExpressSecretFile, one of each line.
func (c *Config) readExpressSecrets() (secrets []string, err error) {
	raw, err := os.ReadFile(c.ExpressSecretFile)
	if err != nil {
		return nil, usage.Errorf("--session-secret-file: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		if secret := strings.TrimRight(line, "\r\n"); secret != "" {
			secrets = append(secrets, secret)
		}
	}
	if len(secrets) == 0 {
		return nil, usage.Errorf("--session-secret-file: %s is empty", c.ExpressSecretFile)
	}
	return secrets, nil
}

// expressCookies returns what reads the cookies of a site with express-session, or nil.
func (c *Config) expressCookies() (*auth.Express, error) {
	switch {
	case !c.ExpressSessions && c.ExpressSecretFile != "":
		return nil, usage.Errorf("--session-secret-file is for --session-source express")
	case !c.ExpressSessions:
		return nil, nil
	case c.ExpressSecretFile == "":
		return nil, usage.Errorf("--session-source express needs --session-secret-file")
	case (&http.Cookie{Name: c.ExpressCookie, Value: "x"}).Valid() != nil:
		return nil, usage.Errorf("--express-cookie: %q can not be the name of a cookie", c.ExpressCookie)
	}
	secrets, err := c.readExpressSecrets()
	if err != nil {
		return nil, err
	}
	return &auth.Express{Cookie: c.ExpressCookie, Secrets: secrets}, nil
}

// reloadSecrets reads again the files of secrets and of keys with which logins are checked. A file
// that is wrong changes nothing of what it holds. It returns what went wrong.
func (l *logins) reloadSecrets(ctx context.Context, c *Config) (err error) {
	if c.JWTSecretFile != "" {
		secret, failed := c.readJWTSecret()
		if failed == nil {
			failed = l.tokens.SetSecret(secret)
		}
		err = errors.Join(err, failed)
	} else if l.tokens != nil {
		err = errors.Join(err, l.tokens.Load(ctx))
	}
	if l.express != nil {
		secrets, failed := c.readExpressSecrets()
		if failed == nil {
			l.express.SetSecrets(secrets)
		}
		err = errors.Join(err, failed)
	}
	return err
}

// logins decide which handshakes and logins are admitted.
type logins struct {
	auth        *auth.Service
	tokens      *auth.Tokens  // nil where no tokens are taken
	express     *auth.Express // nil where the cookies of no Express site are taken
	devices     *sessions.Devices
	connections *sessions.Connections
	callers     *callers
	limiter     *throttle.Limiter
	monitor     *redisconn.Monitor
	log         *zap.Logger
}

// newLogins makes what logs players in.
func newLogins(c *Config, r *redisServices, log *zap.Logger, warnings *warnings) (*logins, error) {
	proxies, err := auth.ParseProxies(c.TrustedProxies)
	if err != nil {
		return nil, usage.Errorf("--trusted-proxies: %w", err)
	}
	l := &logins{callers: newCallers(proxies, log, warnings), limiter: r.limiter, monitor: r.monitor, log: log}
	cfg := auth.Config{
		Dev: c.Dev, CookieName: c.SessionCookie, SessionTTL: c.SessionTTL, AllowedOrigins: c.AllowedOrigins,
		Addr: proxies.Addr, Hosts: proxies.Hosts, IsSecure: proxies.IsSecure, Spend: l.spendLogin, Failed: l.logFailure,
	}
	tokens, err := c.tokenVerifier()
	if err != nil {
		return nil, err
	}
	l.tokens = tokens
	if tokens != nil {
		cfg.Tokens, cfg.Gate = tokens, auth.NewLockout(r.client, auth.LockoutConfig{})
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := tokens.Load(ctx); err != nil {
			if _, statErr := os.Stat(c.JWTKeySet); statErr == nil { // a file that is wrong stays wrong
				return nil, usage.Errorf("--jwt-jwks: %w", err)
			}
			log.Warn("keys of tokens could not be read yet", zap.Error(err))
		}
	}
	if cfg.Express, err = c.expressCookies(); err != nil {
		return nil, err
	}
	l.express = cfg.Express
	devices, err := parseDevices(c.Devices)
	if err != nil {
		return nil, err
	}
	l.devices = sessions.NewDevices(r.sessions, devices)
	l.connections = sessions.NewConnections(r.sessions, max(0, c.MaxConnectionsPerUser), 0)
	plainAddr := func(req *http.Request) throttle.Subject { return throttle.Subject{IP: proxies.Addr(req)} }
	cfg.Guesses = newGuessGate(r.limiter, plainAddr, func(id string) bool { return r.tracker != nil && r.tracker.Follows(id) })
	l.auth = auth.New(r.sessions, cfg)
	return l, nil
}

// admitHandshake refuses handshakes before a sid exists: all of them while Redis takes no writes,
// and those of an address that come too often. It returns nil to admit. The page of an origin that
// is not allowed is admitted, as by Node's server: over polling its browser hides the answer from
// it, and over a websocket it may connect with a session id that it knows, but not by the cookie.
func (l *logins) admitHandshake(r *http.Request) *engineio.Refusal {
	if no := admitSpare(r); no != nil {
		return no
	}
	if origin := l.auth.RefusedOrigin(r); origin != "" {
		l.callers.noteForeignPage(r, origin, transportOf(r))
	}
	if takesNoWrites(l.monitor.State()) {
		return &engineio.Refusal{Status: http.StatusServiceUnavailable, Message: "Temporarily unavailable", RetryAfter: 2 * time.Second}
	}
	return l.spendConnect(r)
}

// spendConnect spends the policy `connect` of the client's address, before any other work is done
// for the handshake.
func (l *logins) spendConnect(r *http.Request) *engineio.Refusal {
	d, err := l.limiter.Check(r.Context(), "connect", l.byAddress(r))
	var f *fault.Fault
	switch {
	case errors.As(err, &f):
		return &engineio.Refusal{Status: f.Status(), Message: f.Message, RetryAfter: 2 * time.Second}
	case err != nil:
		if r.Context().Err() == nil { // else the client has left
			l.log.Error("request could not be limited", zap.String("path", cutPath(r.URL.Path)), zap.Error(err))
		}
		return &engineio.Refusal{Status: http.StatusServiceUnavailable, Message: "Temporarily unavailable", RetryAfter: 2 * time.Second}
	case !d.Allowed:
		return &engineio.Refusal{Status: http.StatusTooManyRequests, Message: fault.ErrRateLimited.Message, RetryAfter: d.RetryAfter}
	}
	return nil
}

// byAddress returns the subject of limits that count by address. It is called once for a request.
func (l *logins) byAddress(r *http.Request) throttle.Subject {
	return throttle.Subject{IP: l.callers.addressOf(r)}
}

// spendLogin charges a login or a renewal to its user: each has the limit of the policy `login`.
// The route has already charged a login to the address.
func (l *logins) spendLogin(ctx context.Context, what auth.Charge, userID string, h http.Header) error {
	subject := "account:" + keys.Part(userID)
	if what == auth.ChargeRenewal {
		subject = "account:renewals:" + keys.Part(userID)
	}
	d, err := l.limiter.Spend(ctx, []string{"login"}, throttle.Subject{IP: subject})
	if err != nil {
		return err
	}
	d.Header(h)
	if !d.Allowed {
		return fault.ErrRateLimited.
			With("policy", d.Policy).With("scope", "user").With("limit", d.Limit).With("remaining", d.Remaining).
			With("windowMs", d.Window.Milliseconds()).With("retryAfterMs", d.RetryAfter.Milliseconds())
	}
	return nil
}

func (l *logins) logFailure(doing string, err error) {
	l.log.Warn("request could not be served", zap.String("doing", doing), zap.Error(err))
}
