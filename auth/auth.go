// Package auth says who sent a request: it finds the session id that a client presents, and the
// session behind it. It also opens and ends sessions over HTTP.
//
// # Where the session id comes from
//
// There are three places, and the first one with a value counts, even when the value is wrong:
//
//  1. sessionId in the auth of the CONNECT packet (null and "" are no value),
//  2. the header Authorization: Bearer,
//  3. the cookie.
//
// With Config.Express each of the three may hold the signed cookie of express-session instead of an
// id, and its cookie comes before ours.
//
// # When the cookie counts
//
// A browser sends cookies along for any page, so the cookie only counts when the page may act for
// the user. The Origin of the request decides. Where a browser sends none (a GET to the page's own
// origin), Sec-Fetch-Site: same-origin stands for it, and in older browsers the Referer. So a page
// is judged alike over polling, a websocket, an upgrade and a POST.
//
//	Origin                            Dev     otherwise
//	one of AllowedOrigins             yes     yes
//	a host of the request             yes     yes
//	a loopback host                   yes     ORIGIN_REFUSED
//	anything else, also "null"        ORIGIN_REFUSED
//	none, Sec-Fetch-Site same-origin  yes     yes
//	none, Sec-Fetch-Site other        ORIGIN_REFUSED
//	neither, but a Referer            as the Origin of that page
//	none of the three                 yes     socket: ORIGIN_REFUSED; HTTP: yes
//
// The hosts of a request are its Host and, behind one of the trusted Proxies, its X-Forwarded-Host.
// The last line is a program, not a browser: every current browser sends one of the first two
// headers with each websocket, each POST and each GET from a page. No browser sends auth or a
// bearer token by itself, so ids in them count with any Origin.
//
// # What a refusal says
//
// A handshake gets ErrSessionRequired, ErrSessionInvalid or ErrOriginRefused. An HTTP request gets
// the faults UNAUTHENTICATED and FORBIDDEN instead. When Redis does not answer, nobody is refused:
// Authenticate returns another error, and an HTTP request gets UNAVAILABLE.
//
// # Logins
//
// Login exchanges a token of the studio's identity provider (Tokens) for a session, and Lockout
// refuses logins that failed too often. Proxies finds the address of the client.
package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/sessions"
)

// These faults answer a refused handshake. Clients compare their texts.
var (
	ErrSessionRequired = fault.New("SESSION_REQUIRED", "No session provided")
	ErrSessionInvalid  = fault.New("SESSION_INVALID", "Invalid session")
	ErrBanned          = fault.New("BANNED", "You are banned.")
	ErrOriginRefused   = fault.New("ORIGIN_REFUSED", "This page may not use your session")
)

// A Store is what Service needs of the sessions. *sessions.Store is one.
type Store interface {
	Lookup
	// Create returns an INVALID fault when a name cannot be used.
	Create(ctx context.Context, userID, username string, roles []string, o sessions.Options) (sessions.Session, error)
	// Renew returns sessions.ErrNotFound when there is no such session, and sessions.ErrRenewed when
	// another call renewed it at the same time.
	Renew(ctx context.Context, id string) (sessions.Session, error)
	// Destroy returns sessions.ErrNotFound when there is no such session. It ends a session that was
	// renewed meanwhile too.
	Destroy(ctx context.Context, id, code, reason string) error
	// DestroyUser ends all sessions of a user but exceptID, and returns how many.
	DestroyUser(ctx context.Context, userID, code, reason, exceptID string) (int, error)
	// DestroyRenewed ends the session that goes on under a new id since oldID was renewed. It returns
	// sessions.ErrNotFound when there is none.
	DestroyRenewed(ctx context.Context, oldID, code, reason string) error
}

// A Lookup reads and slides sessions. Both methods return sessions.ErrNotFound when there is no
// such session.
type Lookup interface {
	// Get reads a session, and does not slide it.
	Get(ctx context.Context, id string) (sessions.Session, error)
	// FindBan returns the ban of a user, or sessions.ErrNotFound.
	FindBan(ctx context.Context, userID string) (sessions.Ban, error)
	// Touch slides a session, and returns when it will expire.
	Touch(ctx context.Context, id string) (time.Time, error)
}

// Config of a Service. The zero value is a strict one for production.
type Config struct {
	// Dev allows guest logins, lets pages of loopback hosts use the cookie, and sends the cookie
	// over plain HTTP.
	Dev bool
	// CookieName is the name of the session cookie. When empty, it is SecureCookie over HTTPS and
	// PlainCookie over plain HTTP, and both are read.
	CookieName string
	// SessionTTL is the TTL of new sessions; the store's when zero.
	SessionTTL time.Duration
	// AllowedOrigins are the pages that may use the cookie, such as "https://play.example", beside
	// those on a host of the request. There are no wildcards: "*" allows nobody.
	AllowedOrigins []string
	// Express accepts the logins of a site with express-session and connect-redis; nil does not.
	Express *Express
	// Tokens verifies the tokens of POST /auth/login; nil accepts none.
	Tokens Verifier
	// Gate refuses token logins that failed too often; nil refuses none.
	Gate Gate
	// Guesses refuses HTTP requests of addresses that presented too many session ids that are not
	// valid; nil refuses none.
	Guesses GuessGate
	// Spend charges a limit of a user: one of logins, another of renewals. It writes the limit into
	// the header of the answer, and returns a RATE_LIMITED fault when nothing is left. When nil,
	// users are not limited.
	Spend func(ctx context.Context, what Charge, userID string, h http.Header) error
	// Addr returns the client's IP address; when nil, it is the one of the connection.
	Addr func(*http.Request) string
	// Hosts returns the hosts under which the client asked, such as "play.example:8443"; when nil,
	// the Host of the request. Behind proxies that change the Host it is Proxies.Hosts.
	Hosts func(*http.Request) []string
	// IsSecure reports whether the client asked over HTTPS. Behind proxies it is Proxies.IsSecure;
	// when nil, only a TLS connection to us is.
	IsSecure func(*http.Request) bool
	// Timeout bounds how long a login or logout waits for Redis; 2 s when zero.
	Timeout time.Duration
	// Failed, when set, gets the reason why an HTTP request could not be served or a token was not
	// accepted. The answer does not contain it.
	Failed func(doing string, err error)
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// A GuessGate bounds how many session ids that are not valid an address may present over HTTP.
type GuessGate interface {
	// Check returns a RATE_LIMITED fault while none of these ids is to be looked up.
	Check(r *http.Request, ids []string) error
	// Failed counts a request whose ids are not valid. It returns a RATE_LIMITED fault when that was
	// one too many.
	Failed(r *http.Request) error
}

// A Charge says which of a user's limits is spent.
type Charge string

// The charges. A login is charged after its token is verified.
const (
	ChargeLogin   Charge = "login"
	ChargeRenewal Charge = "renewal"
)

// A Service authenticates clients. Any number of goroutines may use it.
type Service struct {
	store   Store
	cfg     Config
	origins map[string]bool // AllowedOrigins; not changed after New
}

const (
	maxAuth = 64 << 10 // bytes of the auth in a CONNECT packet
	maxBody = 64 << 10
)

// New returns a service.
func New(store Store, cfg Config) *Service {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.Addr == nil {
		cfg.Addr = Proxies(nil).Addr
	}
	if cfg.Hosts == nil {
		cfg.Hosts = Proxies(nil).Hosts
	}
	if cfg.IsSecure == nil {
		cfg.IsSecure = Proxies(nil).IsSecure
	}
	if cfg.Failed == nil {
		cfg.Failed = func(string, error) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Service{store: store, cfg: cfg, origins: make(map[string]bool)}
	for _, o := range cfg.AllowedOrigins {
		if scheme, host, ok := splitOrigin(o); ok {
			s.origins[scheme+"://"+host] = true
		}
	}
	return s
}

// Authenticate finds the session of a handshake. payload is the raw JSON of the CONNECT packet's
// auth and may be empty; header comes from HandshakeHeader of the transport's first request. It
// does not slide the session, because the one who follows the socket does (sessions.Tracker.Open).
//
// A refusal is one of the faults ErrSessionRequired, ErrSessionInvalid, ErrBanned and
// ErrOriginRefused. Any other error means that Redis did not answer: nobody knows whether the
// session lives, so let the client try again.
func (a *Service) Authenticate(ctx context.Context, payload []byte, header http.Header) (sessions.Session, error) {
	return a.AuthenticateWith(ctx, payload, header, a.store.FindBan)
}

// A BanFinder returns the ban of a user, or sessions.ErrNotFound. With a fault it refuses the user.
type BanFinder func(ctx context.Context, userID string) (sessions.Ban, error)

// AuthenticateWith is Authenticate that finds the ban of the session's user by findBan, which may
// ask Redis for more in the same round trip, and may refuse the user with a fault of its own.
func (a *Service) AuthenticateWith(ctx context.Context, payload []byte, header http.Header, findBan BanFinder) (sessions.Session, error) {
	id, err := idFromPayload(payload)
	if err != nil {
		return sessions.Session{}, err
	}
	ids := []string{id}
	if id != "" {
		ids[0], err = a.resolveID(id)
	} else {
		ids, err = a.idsFromHeader(header, true)
	}
	if err != nil {
		return sessions.Session{}, err
	}
	return a.findSession(ctx, ids, findBan)
}

// Request finds the session of an HTTP request, by bearer token or cookie, and slides it at most
// once per touch interval. A refusal is UNAUTHENTICATED, or FORBIDDEN when the page may not use the
// cookie; each wraps the fault that a handshake would get. When Redis does not answer it is
// UNAVAILABLE, and RATE_LIMITED when the address has presented too many ids that are not valid.
func (a *Service) Request(r *http.Request) (sessions.Session, error) {
	s, err := a.identifyRequest(r)
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, ErrOriginRefused):
		return s, fault.ErrForbidden.Because(err)
	case errors.Is(err, ErrSessionRequired), errors.Is(err, ErrSessionInvalid):
		return s, fault.ErrUnauthenticated.Because(err)
	case errors.Is(err, fault.ErrRateLimited), errors.Is(err, ErrBanned):
		return s, err
	}
	return s, fault.Unavailable("session", time.Second, err)
}

func (a *Service) identifyRequest(r *http.Request) (sessions.Session, error) {
	s, err := a.findPresented(r)
	if err != nil {
		return s, err
	}
	now := a.cfg.Now()
	if now.Before(s.LastActivityAt.Add(sessions.TouchInterval(s.TTL))) {
		return s, nil
	}
	until, err := a.store.Touch(r.Context(), s.ID)
	switch {
	case errors.Is(err, sessions.ErrNotFound):
		return sessions.Session{}, ErrSessionInvalid
	case err != nil:
		return sessions.Session{}, fmt.Errorf("authenticate: %w", err)
	}
	s.ExpiresAt, s.LastActivityAt = until, now
	return s, nil
}

// findPresented finds the session whose id a request presents, unless its address has guessed too
// often.
func (a *Service) findPresented(r *http.Request) (s sessions.Session, err error) {
	ids, err := a.idsFromHeader(a.HandshakeHeader(r), false)
	if err == nil && a.cfg.Guesses != nil {
		if err := a.cfg.Guesses.Check(r, ids); err != nil {
			return s, err
		}
	}
	if err == nil {
		s, err = a.findSession(r.Context(), ids, a.store.FindBan)
	}
	if errors.Is(err, ErrSessionInvalid) && a.cfg.Guesses != nil {
		if refused := a.cfg.Guesses.Failed(r); refused != nil {
			return s, refused
		}
	}
	return s, err
}

// findSession reads the first session of these ids that stands. It refuses none, and "".
func (a *Service) findSession(ctx context.Context, ids []string, findBan BanFinder) (sessions.Session, error) {
	if len(ids) == 0 || ids[0] == "" {
		return sessions.Session{}, ErrSessionRequired
	}
	for _, id := range ids {
		s, err := a.store.Get(ctx, id)
		switch {
		case err == nil:
			return s, a.checkBan(ctx, s.UserID, findBan)
		case !errors.Is(err, sessions.ErrNotFound):
			return sessions.Session{}, fmt.Errorf("authenticate: %w", err)
		}
	}
	return sessions.Session{}, ErrSessionInvalid
}

// checkBan returns ErrBanned, with the details reason, until and retryAfterMs, while a user is
// banned. Any other error means that Redis did not answer.
func (a *Service) checkBan(ctx context.Context, userID string, findBan BanFinder) error {
	ban, err := findBan(ctx, userID)
	switch {
	case errors.Is(err, sessions.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("authenticate: %w", err)
	}
	refusal := ErrBanned.With("reason", ban.Reason)
	if !ban.Until.IsZero() {
		left := max(0, ban.Until.Sub(a.cfg.Now()))
		refusal = refusal.With("until", ban.Until.UnixMilli()).With("retryAfterMs", left.Milliseconds())
	}
	return refusal
}

// idFromPayload reads auth.sessionId; it returns "" when there is none. It ignores other members,
// but refuses anything that is not one JSON object with distinct names.
func idFromPayload(payload []byte) (string, error) {
	if len(payload) > maxAuth {
		return "", ErrSessionInvalid
	}
	if len(payload) == 0 {
		return "", nil
	}
	var in struct {
		SessionID jsontext.Value `json:"sessionId"`
	}
	if json.Unmarshal(payload, &in, jsontext.AllowInvalidUTF8(true)) != nil {
		return "", ErrSessionInvalid
	}
	switch in.SessionID.Kind() {
	case 0, 'n':
		return "", nil
	case '"':
		var id string
		if json.Unmarshal(in.SessionID, &id, jsontext.AllowInvalidUTF8(true)) != nil {
			return "", ErrSessionInvalid
		}
		return id, nil
	}
	return "", ErrSessionInvalid
}

// idsFromHeader reads the bearer token, or else the cookies; it returns none when there is neither.
// A browser sends several cookies of one name when they are of several paths or domains, and does
// not tell which is whose: only one of them may name a session.
func (a *Service) idsFromHeader(h http.Header, socket bool) ([]string, error) {
	if bearers := h.Values("Authorization"); len(bearers) > 1 {
		return nil, ErrSessionInvalid
	} else if len(bearers) == 1 {
		scheme, id, _ := strings.Cut(strings.TrimSpace(bearers[0]), " ")
		if id = strings.TrimSpace(id); strings.EqualFold(scheme, "Bearer") && id != "" {
			id, err := a.resolveID(id)
			return []string{id}, err
		}
	}
	presented := a.idsFromCookies(h)
	if len(presented) == 0 {
		return nil, nil
	}
	if !a.mayUseCookie(h, socket) {
		return nil, refuseOrigin(h)
	}
	var ids []string
	for _, cookie := range presented {
		if id, err := a.resolveID(cookie); err == nil {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, ErrSessionInvalid
	}
	return ids, nil
}

// maxCookies is how many different cookies of one name are tried: each costs a look at Redis.
const maxCookies = 4

// idsFromCookies returns the different values of the express cookie, if Config.Express is set, or
// else of ours, at most maxCookies.
func (a *Service) idsFromCookies(h http.Header) []string {
	if a.cfg.Express != nil {
		if values := readCookies(h, a.cfg.Express.Cookie); len(values) > 0 {
			return values
		}
	}
	return readCookies(h, a.cookieNames()...)
}

// readCookies returns the different values of the cookies of these names, at most maxCookies.
func readCookies(h http.Header, names ...string) (values []string) {
	for _, name := range names {
		for _, c := range (&http.Request{Header: h}).CookiesNamed(name) {
			if c.Value != "" && len(values) < maxCookies && !slices.Contains(values, c.Value) {
				values = append(values, c.Value)
			}
		}
	}
	return values
}

// resolveID returns the session id for what a client presents: that text itself, or, for a cookie
// that express-session signed, the id of that session.
func (a *Service) resolveID(presented string) (string, error) {
	if a.cfg.Express != nil {
		if signed, ok := a.cfg.Express.cutSignedPrefix(presented); ok {
			sid, ok := a.cfg.Express.verifySignature(signed)
			if !ok {
				return "", ErrSessionInvalid
			}
			return sessions.ExpressID(sid), nil
		}
	}
	if !sessions.ValidID(presented) {
		return "", ErrSessionInvalid
	}
	return presented, nil
}
