package redisconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

// TLSFiles are the paths of PEM files; an empty path is not used.
type TLSFiles struct {
	CA   string // certificate authorities to trust instead of the system's
	Cert string // our certificate, for a server that requires one
	Key  string // its key
}

// Load reads the files for Config.TLS; it returns nil when there are none. Errors name the file,
// and quote nothing from it.
func (f TLSFiles) Load() (*tls.Config, error) {
	if f == (TLSFiles{}) {
		return nil, nil
	}
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("a certificate and its key go together")
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", f.CA)
		}
	}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("%s and %s: %w", f.Cert, f.Key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// A tlsReloader reads TLSFiles at each dial, so that a certificate can be rotated while the program
// runs. Files that can not be read are half of a rotation: the last good ones are used then.
type tlsReloader struct {
	files TLSFiles
	last  atomic.Pointer[tls.Config]
}

// newTLSConfig returns what a dialer calls: the configuration of now, never nil, and the error of
// the files when it is an older one.
func newTLSConfig(static *tls.Config, files TLSFiles) func() (*tls.Config, error) {
	if files == (TLSFiles{}) {
		return func() (*tls.Config, error) { return static, nil }
	}
	r := &tlsReloader{files: files}
	r.last.Store(static)
	return r.load
}

func (r *tlsReloader) load() (*tls.Config, error) {
	config, err := r.files.Load()
	if err != nil {
		return r.last.Load(), err
	}
	r.last.Store(config)
	return config, nil
}

// Secure tells whether a URL has a rediss scheme.
func Secure(rawURL string) bool {
	t, err := parseURL(rawURL)
	return err == nil && t.usesTLS()
}
