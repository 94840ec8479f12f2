package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxKeySet      = 1 << 20 // bytes
	maxKeys        = 64
	keysMaxAge     = time.Hour              // after this time the set is read again
	keysRetryPause = 10 * time.Second       // between two reads, at least
	keysTimeout    = 5 * time.Second        // for one read
	staleKeysWait  = 500 * time.Millisecond // for a read, where old keys can be used instead
	maxRedirects   = 3
)

// A keySet is a JWKS. It is read again every hour, and when a token names a key that it lacks. If
// that fails, the keys that were read before stay in use, and tokens under other keys can not be
// judged.
type keySet struct {
	source string
	isURL  bool
	now    func() time.Time
	client *http.Client

	mu      sync.Mutex
	reading chan struct{}     // closed when the read under way has ended; nil when none is; guarded by mu
	keys    []jose.JSONWebKey // guarded by mu
	readAt  time.Time         // when keys were read; guarded by mu
	triedAt time.Time         // when reading was last tried; guarded by mu
	lastErr error             // why that failed; guarded by mu
}

func newKeySet(source string, now func() time.Time) (*keySet, error) {
	s := &keySet{source: source, now: now}
	if !strings.Contains(source, "://") {
		return s, nil
	}
	u, err := url.Parse(source)
	if err != nil || !isTrustedURL(u) {
		return nil, errors.New("the JWKS must be an https URL (http on loopback) or a file")
	}
	s.isURL = true
	s.client = &http.Client{Timeout: keysTimeout, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects || !isTrustedURL(r.URL) {
			return errors.New("the JWKS URL redirects to an untrusted URL, or too often")
		}
		return nil
	}}
	return s, nil
}

// isTrustedURL reports whether nobody on the way can change the answer of the URL.
func isTrustedURL(u *url.URL) bool {
	return u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Host))
}

// findKeys returns the keys with that id, or all keys when id is "". It returns an error when it
// has none and the set could not be read: nobody knows whether the provider has such a key by now.
func (s *keySet) findKeys(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	found, fresh := s.cachedKeys(id)
	if fresh {
		return found, nil
	}
	if len(found) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, staleKeysWait)
		defer cancel()
	}
	err := s.refreshKeys(ctx)
	if found, _ = s.cachedKeys(id); len(found) > 0 || err == nil {
		return found, nil
	}
	return nil, err
}

// cachedKeys returns the matching keys of the last read. fresh means that no new read is needed.
func (s *keySet) cachedKeys(id string) (found []jose.JSONWebKey, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if id == "" || k.KeyID == id {
			found = append(found, k)
		}
	}
	return found, len(found) > 0 && s.now().Sub(s.readAt) < keysMaxAge
}

// refreshKeys reads the set, or waits for the read that is under way. It returns how the last read
// ended when that was less than keysRetryPause ago: a client that sends made-up key ids must not
// make us ask the provider each time.
func (s *keySet) refreshKeys(ctx context.Context) error {
	s.mu.Lock()
	isEarly := !s.triedAt.IsZero() && s.now().Sub(s.triedAt) < keysRetryPause
	if s.reading == nil && isEarly {
		defer s.mu.Unlock()
		return s.lastErr
	}
	s.mu.Unlock()
	return s.loadKeys(ctx)
}

// loadKeys reads the set, together with all who ask meanwhile. A caller waits until its ctx ends;
// the read itself has keysTimeout, and ends by itself.
func (s *keySet) loadKeys(ctx context.Context) error {
	s.mu.Lock()
	if s.reading == nil {
		s.reading = make(chan struct{})
		go s.readKeys() //nolint:gosec // it outlives the caller: all who ask meanwhile get what it reads
	}
	reading := s.reading
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return fmt.Errorf("read JWKS: it takes too long: %w", ctx.Err())
	case <-reading:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastErr
}

// readKeys reads the set once and wakes those who wait for it.
func (s *keySet) readKeys() {
	ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
	defer cancel()
	keys, err := s.fetchKeys(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.triedAt, s.lastErr = s.now(), err
	if err == nil {
		s.keys, s.readAt = keys, s.triedAt
	}
	close(s.reading)
	s.reading = nil
}

func (s *keySet) fetchKeys(ctx context.Context) ([]jose.JSONWebKey, error) {
	raw, err := s.readSource(ctx)
	if err != nil {
		return nil, fmt.Errorf("read JWKS: %w", err)
	}
	if len(raw) > maxKeySet {
		return nil, errors.New("read JWKS: it is larger than 1 MB")
	}
	return parseKeys(raw)
}

func (s *keySet) readSource(ctx context.Context) ([]byte, error) {
	if !s.isURL {
		f, err := os.Open(s.source)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, maxKeySet+1))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.source, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
}

// parseKeys returns the public signature keys of a set. It ignores keys of unknown kinds, as RFC
// 7517 asks. A set without any usable key is an error.
func parseKeys(raw []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, errors.New("read JWKS: it is not a JSON object with keys")
	}
	var keys []jose.JSONWebKey
	for _, text := range set.Keys[:min(len(set.Keys), maxKeys)] {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(text) != nil || !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
			continue
		}
		if fitsAlgorithm("RS256", k.Key) || fitsAlgorithm("ES256", k.Key) || fitsAlgorithm("EdDSA", k.Key) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("read JWKS: it has no RSA (2,048 bits), P-256 or Ed25519 key for signatures")
	}
	return keys, nil
}
