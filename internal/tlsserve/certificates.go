// Package tlsserve serves TLS from files that may change while the server runs.
//
//	certificates, err := tlsserve.Open("gateway.crt", "gateway.key")
//	l = tlsserve.NewListener(l, certificates.ServerConfig(nil))
//
// Its connections can be waited for without a buffer, as those of plain TCP: see Conn.
package tlsserve

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxFile is how many bytes of a file are read.
const maxFile = 1 << 20

// Certificates are a certificate with its key, of two PEM files. Any number of goroutines may use
// them.
type Certificates struct {
	certFile, keyFile string
	inForce           atomic.Pointer[tls.Certificate]

	mu              sync.Mutex
	certPEM, keyPEM []byte // what Reload read last; guarded by mu
}

// Open reads a certificate, with the chain to its authority behind it, and its key.
func Open(certFile, keyFile string) (*Certificates, error) {
	c := &Certificates{certFile: certFile, keyFile: keyFile}
	return c, c.Reload()
}

// Reload reads the files again. After an error, what was read before stays in force.
func (c *Certificates) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	certPEM, err := readFile(c.certFile)
	if err != nil {
		return err
	}
	keyPEM, err := readFile(c.keyFile)
	if err != nil {
		return err
	}
	c.certPEM, c.keyPEM = certPEM, keyPEM
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", c.certFile, c.keyFile, err)
	}
	c.inForce.Store(&pair)
	return nil
}

// HasChanged reports whether a file holds something else than Reload read last.
func (c *Certificates) HasChanged() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	certPEM, certErr := readFile(c.certFile)
	keyPEM, keyErr := readFile(c.keyFile)
	if certErr != nil || keyErr != nil { // a file that is being replaced is there in a moment
		return false
	}
	return !bytes.Equal(certPEM, c.certPEM) || !bytes.Equal(keyPEM, c.keyPEM)
}

// NotAfter returns until when the certificate in force is valid.
func (c *Certificates) NotAfter() time.Time { return c.inForce.Load().Leaf.NotAfter }

// ServerConfig returns the settings of a server with these certificates: TLS 1.2 and later, and
// HTTP/1.1, because websockets need it. With authorities, a client must show a certificate that one
// of them signed.
func (c *Certificates) ServerConfig(authorities *Authorities) *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.inForce.Load(), nil },
	}
	if authorities == nil {
		return config
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	// Clients that a removed authority signed must not come back with a ticket.
	config.SessionTicketsDisabled = true
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		current := config.Clone()
		current.GetConfigForClient, current.ClientCAs = nil, authorities.inForce.Load()
		return current, nil
	}
	return config
}

// Authorities sign the certificates of clients. They are those of one PEM file.
type Authorities struct {
	file    string
	inForce atomic.Pointer[x509.CertPool]

	mu  sync.Mutex
	pem []byte // what Reload read last; guarded by mu
}

// OpenAuthorities reads a file of authorities.
func OpenAuthorities(file string) (*Authorities, error) {
	a := &Authorities{file: file}
	return a, a.Reload()
}

// Reload reads the file again. After an error, what was read before stays in force.
func (a *Authorities) Reload() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	text, err := readFile(a.file)
	if err != nil {
		return err
	}
	a.pem = text
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s: no certificate in PEM", a.file)
	}
	a.inForce.Store(pool)
	return nil
}

// HasChanged reports whether the file holds something else than Reload read last.
func (a *Authorities) HasChanged() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	text, err := readFile(a.file)
	return err == nil && !bytes.Equal(text, a.pem)
}

var errTooLarge = errors.New("larger than 1 MiB")

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err //nolint:wrapcheck // it names the file
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s: %w", name, errTooLarge)
	}
	text, err := os.ReadFile(name) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the file
	}
	return text, nil
}
