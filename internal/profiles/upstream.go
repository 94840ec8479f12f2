package profiles

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/aeturnis/realtime/fault"
)

// Config configures an Upstream. The zero value works.
type Config struct {
	// Timeout is the longest time of one try, including the answer's body; 0 means 1 s.
	Timeout time.Duration
	// MaxTries is how often a failing request is tried in all; 0 means 3. The pause between two tries
	// grows from 50 to 500 ms, with jitter.
	MaxTries int
	// BreakerFailures is how many tries must fail in a row to open the breaker; 0 means 5.
	BreakerFailures int
	// BreakerDelay is how long an open breaker refuses every request, before it lets one through to
	// find out whether the service works again; 0 means 5 s.
	BreakerDelay time.Duration
	// Token is sent as "Authorization: Bearer"; when it is empty, no such header is sent.
	Token string
	// ReadToken, when it is set, returns the token in place of Token. It is called for each try, so
	// that the token can be replaced; after an error the last one is sent.
	ReadToken func() (string, error)
	// Client sends the requests; nil means a client that follows no redirects.
	Client *http.Client
}

func (c Config) withDefaults() Config {
	if c.Timeout <= 0 {
		c.Timeout = time.Second
	}
	if c.MaxTries <= 0 {
		c.MaxTries = 3
	}
	if c.BreakerFailures <= 0 {
		c.BreakerFailures = 5
	}
	if c.BreakerDelay <= 0 {
		c.BreakerDelay = 5 * time.Second
	}
	if c.Client == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 32
		c.Client = &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
	}
	return c
}

// maxBody is the longest answer that is read, in bytes.
const maxBody = 64 << 10

// Upstream is a client of the game studio's profile service. The service offers:
//
//	GET <base>/users/{id}        200 with a User, or 404
//	GET <base>/characters/{id}   200 with a Character, or 404
//	PUT <base>/characters/{id}   2xx; the request's body is a Character. A request may arrive twice.
//
// Unknown members of an answer are ignored. A request is tried again after any other answer, after
// a timeout, and after an answer about another id; when the last try fails, the result is
// UNAVAILABLE.
type Upstream struct {
	base    string
	cfg     Config
	breaker circuitbreaker.CircuitBreaker[[]byte]
	retries failsafe.Executor[[]byte]

	lastToken atomic.Pointer[string] // that ReadToken returned
}

// NewUpstream returns a client of the profile service at the URL base; it sends no request. The
// error says what is wrong with base, and never quotes it, because it may contain a password.
func NewUpstream(base string, cfg Config) (*Upstream, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return nil, errors.New("the profile service's URL can not be read")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("the profile service's URL must start with http:// or https:// and a host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the profile service's URL takes no user, query or fragment")
	}
	cfg = cfg.withDefaults()
	s := &Upstream{base: strings.TrimSuffix(u.String(), "/"), cfg: cfg}
	failed := func(_ []byte, err error) bool {
		return err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, fault.ErrInvalid) && !errors.Is(err, context.Canceled)
	}
	s.breaker = circuitbreaker.NewBuilder[[]byte]().
		HandleIf(failed).WithFailureThreshold(uint(cfg.BreakerFailures)).WithDelay(cfg.BreakerDelay).WithSuccessThreshold(1).Build()
	retries := retrypolicy.NewBuilder[[]byte]().
		HandleIf(failed).AbortOnErrors(circuitbreaker.ErrOpen).ReturnLastFailure().WithMaxAttempts(cfg.MaxTries).
		WithBackoff(50*time.Millisecond, 500*time.Millisecond).WithJitterFactor(0.3).Build()
	s.retries = failsafe.With(retries, failsafe.Policy[[]byte](s.breaker))
	return s, nil
}

// BreakerState returns the state of the breaker: "closed", "open" or "half-open".
func (s *Upstream) BreakerState() string { return s.breaker.State().String() }

// User returns the user with the id. Errors: ErrNotFound, UNAVAILABLE.
func (s *Upstream) User(ctx context.Context, id string) (u User, err error) {
	err = s.fetchProfile(ctx, "/users/", id, func(body []byte) error {
		u = User{}
		return decodeProfile(body, &u, &u.UserID, id)
	})
	if err != nil {
		return User{}, err
	}
	u = u.clean()
	if u.Characters == nil {
		u.Characters = []string{}
	}
	return u, nil
}

// Character returns the character with the id. Errors: ErrNotFound, UNAVAILABLE.
func (s *Upstream) Character(ctx context.Context, id string) (c Character, err error) {
	err = s.fetchProfile(ctx, "/characters/", id, func(body []byte) error {
		c = Character{}
		return decodeProfile(body, &c, &c.CharacterID, id)
	})
	if err != nil {
		return Character{}, err
	}
	return c.Clean(), nil
}

// SaveCharacter stores a character under its id. Errors: INVALID, when the character is not valid
// or the service answers 400 or 422; ErrNotFound; UNAVAILABLE, after which the character may have
// been stored or not.
func (s *Upstream) SaveCharacter(ctx context.Context, c Character) error {
	if err := c.Validate(); err != nil {
		return err
	}
	body, err := json.Marshal(c.Clean())
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return s.doWithRetries(ctx, http.MethodPut, "/characters/"+url.PathEscape(c.CharacterID), body, func([]byte) error { return nil })
}

// fetchProfile requests the profile with an id; read decodes the answer and checks it.
func (s *Upstream) fetchProfile(ctx context.Context, path, id string, read func([]byte) error) error {
	if !ValidID(id) {
		return ErrNotFound
	}
	return s.doWithRetries(ctx, http.MethodGet, path+url.PathEscape(id), nil, read)
}

// decodeProfile reads an answer. It refuses an answer about another id, because callers cache
// answers by the id that they asked for.
func decodeProfile(body []byte, into any, id *string, want string) error {
	// Half a surrogate pair in one text, which JSON.stringify writes, is U+FFFD.
	if err := json.Unmarshal(body, into, jsontext.AllowInvalidUTF8(utf8.Valid(body))); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if *id != want {
		return errors.New("answer: it is about another id")
	}
	return nil
}

// doWithRetries sends a request until a try succeeds or all have failed. A try succeeds when read
// accepts its body.
func (s *Upstream) doWithRetries(ctx context.Context, method, path string, body []byte, read func([]byte) error) error {
	_, err := s.retries.WithContext(ctx).GetWithExecution(func(failsafe.Execution[[]byte]) ([]byte, error) {
		answer, err := s.sendRequest(ctx, method, path, body)
		if err == nil {
			err = read(answer)
		}
		return nil, err
	})
	switch {
	case err == nil, errors.Is(err, ErrNotFound), errors.Is(err, fault.ErrInvalid):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("profile: %w", context.Cause(ctx))
	}
	return unavailableFault(method+" "+path[:strings.LastIndexByte(path, '/')], err) // without the id
}

// currentToken returns the token for the next request.
func (s *Upstream) currentToken() string {
	if s.cfg.ReadToken == nil {
		return s.cfg.Token
	}
	if token, err := s.cfg.ReadToken(); err == nil {
		s.lastToken.Store(&token)
	}
	if last := s.lastToken.Load(); last != nil {
		return *last
	}
	return s.cfg.Token
}

// sendRequest sends a request once and returns the answer's body.
func (s *Upstream) sendRequest(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token := s.currentToken(); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := s.cfg.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, err
	case len(answer) > maxBody:
		return nil, errors.New("answer: it is longer than 64 KiB")
	}
	switch code := res.StatusCode; {
	case code == http.StatusNotFound:
		return nil, ErrNotFound
	case method == http.MethodGet && code == http.StatusOK, method == http.MethodPut && code >= 200 && code < 300:
		return answer, nil
	case method == http.MethodPut && (code == http.StatusBadRequest || code == http.StatusUnprocessableEntity):
		return nil, fault.Invalid("", "the profile service refused it")
	default:
		return nil, fmt.Errorf("answer: status %d", code)
	}
}

// unavailableFault returns the fault UNAVAILABLE, wrapped with what we were doing.
func unavailableFault(doing string, cause error) error {
	return fmt.Errorf("profile: %s: %w", doing, fault.Unavailable("profiles", time.Second, cause))
}
