package signedpost_test

import (
	"context"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/signedpost"
)

var (
	oldSecret = []byte("0123456789abcdef")
	newSecret = []byte("fedcba9876543210")
)

func TestSignature(t *testing.T) {
	t.Parallel()
	now, body := time.Unix(1_700_000_000, 0), []byte(`{"event":"quest:accept"}`)
	// echo -n '1700000000.{"event":"quest:accept"}' | openssl dgst -sha256 -hmac 0123456789abcdef
	header := signedpost.Sign(now, body, oldSecret)
	require.Equal(t, "t=1700000000,v1=2a31f31990526a3e128d151248b7df36f5bf3395fdfacfee3acb848d8b4bc011", header)
	both := signedpost.Sign(now, body, oldSecret, newSecret)
	require.Equal(t, 2, strings.Count(both, ",v1="))

	require.NoError(t, signedpost.Verify(header, now, body, oldSecret))
	require.NoError(t, signedpost.Verify(header, now, body, newSecret, oldSecret), "the receiver has both")
	require.NoError(t, signedpost.Verify(both, now, body, newSecret), "the sender has both")
	require.NoError(t, signedpost.Verify(both, now, body, oldSecret))
	require.NoError(t, signedpost.Verify(header+",v2=later", now, body, oldSecret), "another version beside it")
	require.NoError(t, signedpost.Verify(header, now.Add(5*time.Minute), body, oldSecret))
	require.NoError(t, signedpost.Verify(header, now.Add(-5*time.Minute), body, oldSecret))

	require.ErrorIs(t, signedpost.Verify(header, now.Add(5*time.Minute+time.Second), body, oldSecret), signedpost.ErrSkew)
	require.ErrorIs(t, signedpost.Verify(header, now.Add(-5*time.Minute-time.Second), body, oldSecret), signedpost.ErrSkew)
	require.ErrorIs(t, signedpost.Verify(header, now, body, newSecret), signedpost.ErrSignature)
	require.ErrorIs(t, signedpost.Verify(header, now, body), signedpost.ErrSignature, "no secret")
	require.ErrorIs(t, signedpost.Verify(header, now, append(body, ' '), oldSecret), signedpost.ErrSignature)
	require.ErrorIs(t, signedpost.Verify("t=1700000001"+header[len("t=1700000000"):], now, body, oldSecret), signedpost.ErrSignature)
	require.ErrorIs(t, signedpost.Verify("t=1700000000,v0=00", now, body, oldSecret), signedpost.ErrSignature)
	for _, wrong := range []string{
		"", "t=", "t=1700000000", "v1=00", "t=x,v1=00", "t=+1700000000,v1=00", "t=01700000000,v1=00", "t=1700000000,v1=", "t=1700000000,v1=00",
		"t=1700000000,v1=zz", "t=9999999999999999999999,v1=00", header + strings.Repeat(",v2=x", 1000),
	} {
		require.ErrorIs(t, signedpost.Verify(wrong, now, body, oldSecret), signedpost.ErrMalformed, wrong)
	}
}

func TestSecretsOfAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secrets")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write("# of the quests\n\n" + string(oldSecret) + "\n")
	s, err := signedpost.OpenSecrets(path)
	require.NoError(t, err)
	require.Equal(t, [][]byte{oldSecret}, s.All())
	require.False(t, s.HasChanged())

	write(string(newSecret) + "\n" + string(oldSecret))
	require.True(t, s.HasChanged())
	require.NoError(t, s.Reload())
	require.Equal(t, [][]byte{newSecret, oldSecret}, s.All())

	for text, why := range map[string]string{
		"":                                      "no secret",
		"# nothing":                             "no secret",
		"short-and-secret":                      "", // 16 bytes
		"short":                                 "line 1: a secret has 16 to 256 bytes",
		strings.Repeat("x", 257):                "line 1: a secret has 16 to 256 bytes",
		strings.Repeat("0123456789abcdef\n", 6): "more than 5 secrets",
		strings.Repeat("#", 65<<10):             "more than 65536 bytes",
	} {
		write(text)
		err := s.Reload()
		if why == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, why)
		require.NotContains(t, err.Error(), "short")
		require.NotEmpty(t, s.All(), "the old ones stay")
	}
	require.NoError(t, os.Remove(path))
	require.Error(t, s.Reload())
	_, err = signedpost.OpenSecrets(path)
	require.Error(t, err)
}

func newClient(t *testing.T, cfg signedpost.Config) *signedpost.Client {
	c, err := signedpost.NewClient(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestAReceiverVerifiesWhatIsPosted(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := signedpost.Verify(r.Header.Get(signedpost.HeaderName), time.Now(), body, newSecret); err != nil || r.Method != http.MethodPost {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write(body)
	}))
	defer s.Close()
	status, answer, err := newClient(t, signedpost.Config{}).Post(t.Context(), s.URL, signedpost.FixedSecrets(oldSecret, newSecret), []byte(`{"a":1}`))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"a":1}`, string(answer))
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	size := atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/chunks" { // without a length
			w.(http.Flusher).Flush()
		}
		_, _ = w.Write(make([]byte, size.Load()))
	}))
	defer s.Close()
	c := newClient(t, signedpost.Config{MaxAnswer: 1000})
	for _, path := range []string{"/", "/chunks"} {
		size.Store(1000)
		_, answer, err := c.Post(t.Context(), s.URL+path, signedpost.FixedSecrets(oldSecret), nil)
		require.NoError(t, err)
		require.Len(t, answer, 1000)
		size.Store(1001)
		_, _, err = c.Post(t.Context(), s.URL+path, signedpost.FixedSecrets(oldSecret), nil)
		require.ErrorIs(t, err, signedpost.ErrTooLarge, path)
	}
}

func TestNoRedirectIsFollowed(t *testing.T) {
	t.Parallel()
	hits := atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer s.Close()
	status, _, err := newClient(t, signedpost.Config{}).Post(t.Context(), s.URL, signedpost.FixedSecrets(oldSecret), []byte("x"))
	require.NoError(t, err)
	require.Equal(t, http.StatusTemporaryRedirect, status)
	require.EqualValues(t, 1, hits.Load())
}

func TestTheTimeOfARequestIsBounded(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(over)
	_, _, err := newClient(t, signedpost.Config{Timeout: 20 * time.Millisecond}).Post(t.Context(), s.URL, signedpost.FixedSecrets(oldSecret), nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.False(t, signedpost.IsUnsent(err))
}

// An address is judged after its name is resolved, so it does not help to have a name for it.
func TestAddressesThatAreRefused(t *testing.T) {
	t.Parallel()
	c := newClient(t, signedpost.Config{})
	for _, target := range []string{
		"https://169.254.169.254/latest", "https://[fe80::1]/", "https://[::ffff:169.254.169.254]/", "https://[64:ff9b::a9fe:a9fe]/", "https://[2002:a9fe:a9fe::1]/",
		"https://[fd00:ec2::254]/", "https://100.100.100.200/", "https://0.0.0.0/", "https://[::]/", "https://224.0.0.1/",
		"http://192.0.2.1/", "http://10.0.0.1/", // http is for loopback
	} {
		_, _, err := c.Post(t.Context(), target, signedpost.FixedSecrets(oldSecret), nil)
		require.ErrorIs(t, err, signedpost.ErrRefusedAddress, target)
		require.True(t, signedpost.IsUnsent(err))
		require.Error(t, signedpost.CheckURL(target), target)
	}
	for _, wrong := range []string{"", "x", "ftp://a/", "http://example.com/", "https:///x", "https://user:pw@a/", "https://a/#b", "https:a", "http://[::1", "http://localhost.example.com/"} {
		require.Error(t, signedpost.CheckURL(wrong), wrong)
	}
	for _, right := range []string{"https://quests.example.com/x?y=1", "https://10.0.0.1:8443/", "http://127.0.0.1:9000/", "http://localhost:1/", "http://[::1]:1/"} {
		require.NoError(t, signedpost.CheckURL(right), right)
	}
}

func TestAReceiverThatIsAwayGotNothing(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	_, _, err := newClient(t, signedpost.Config{}).Post(t.Context(), s.URL, signedpost.FixedSecrets(oldSecret), nil)
	require.Error(t, err)
	require.True(t, signedpost.IsUnsent(err))
}

func TestCertificatesOfAnAuthority(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	_, _, err := newClient(t, signedpost.Config{}).Post(t.Context(), s.URL, signedpost.FixedSecrets(oldSecret), nil)
	require.ErrorContains(t, err, "certificate")
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, encodePEM(s.Certificate().Raw), 0o600))
	status, _, err := newClient(t, signedpost.Config{CAFile: path}).Post(t.Context(), s.URL, signedpost.FixedSecrets(oldSecret), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = signedpost.NewClient(signedpost.Config{CAFile: path})
	require.ErrorContains(t, err, "no certificate")
	_, err = signedpost.NewClient(signedpost.Config{CAFile: path + "x"})
	require.Error(t, err)
}

func encodePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
