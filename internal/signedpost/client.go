package signedpost

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// Errors of Client.Post. Other errors are the network's, or of the context.
var (
	// ErrRefusedAddress means that the name resolves to an address that is not connected to. Nothing
	// was sent.
	ErrRefusedAddress = errors.New("signedpost: refused address")
	// ErrTooLarge means that the answer is larger than MaxAnswer.
	ErrTooLarge = errors.New("signedpost: the answer is too large")
)

// Config bounds a Client. The zero value has the defaults.
type Config struct {
	MaxAnswer      int           // bytes of an answer; 0 means 256 KiB
	Timeout        time.Duration // for one request, whatever its context says; 0 means 10 s
	MaxConnections int           // to one host, in use or kept; 0 means 64
	// CAFile has the authorities to trust in place of the system's, as PEM; "" trusts the system's.
	CAFile string
}

// A Client posts signed bodies. Its methods may be called from any goroutine.
type Client struct {
	cfg       Config
	transport *http.Transport
	client    http.Client
}

const (
	// keepIdle is how long a connection without requests is kept: less than the 5 s after which
	// servers of Node close it, because a request that meets the close would fail.
	keepIdle      = 4 * time.Second
	dialTimeout   = 3 * time.Second
	maxHeaderSize = 16 << 10 // bytes of the headers of an answer
)

// NewClient makes a Client. The error is about CAFile.
func NewClient(cfg Config) (*Client, error) {
	if cfg.MaxAnswer <= 0 {
		cfg.MaxAnswer = 256 << 10
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.MaxConnections <= 0 {
		cfg.MaxConnections = 64
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", cfg.CAFile)
		}
	}
	c := &Client{cfg: cfg, transport: &http.Transport{
		DialContext: dialChecked, TLSClientConfig: trust, TLSHandshakeTimeout: dialTimeout,
		MaxConnsPerHost: cfg.MaxConnections, MaxIdleConnsPerHost: cfg.MaxConnections, IdleConnTimeout: keepIdle,
		MaxResponseHeaderBytes: maxHeaderSize, DisableCompression: true, // so that MaxAnswer bounds what is read
	}}
	c.client = http.Client{Transport: c.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// Close closes the connections that are kept.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Post sends a body, which is JSON, with its signature, and returns the status and the whole
// answer. A redirect is an answer like another. An error that wraps ErrRefusedAddress, or for which
// IsUnsent holds, means that the receiver got nothing.
func (c *Client) Post(ctx context.Context, target string, secrets *Secrets, body []byte) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header["Content-Type"] = []string{"application/json"}
	r.Header["User-Agent"] = []string{"gateway"}
	r.Header[HeaderName] = []string{Sign(time.Now(), body, secrets.All()...)}
	if r.URL.Scheme != "https" {
		r = r.WithContext(context.WithValue(r.Context(), onlyLoopback{}, true))
	}
	res, err := c.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.ContentLength > int64(c.cfg.MaxAnswer) {
		return res.StatusCode, nil, ErrTooLarge
	}
	answer, err = readBounded(res.Body, res.ContentLength, c.cfg.MaxAnswer)
	return res.StatusCode, answer, err
}

// readBounded reads an answer to its end, or until it is too large.
func readBounded(body io.Reader, length int64, most int) ([]byte, error) {
	if length < 0 {
		length = 512 // grows
	}
	b := bytes.NewBuffer(make([]byte, 0, length+bytes.MinRead))
	if _, err := b.ReadFrom(io.LimitReader(body, int64(most)+1)); err != nil {
		return nil, err
	}
	if b.Len() > most {
		return nil, ErrTooLarge
	}
	return b.Bytes(), nil
}

// IsUnsent reports whether an error of Post means that no connection could be made, so that the
// receiver got nothing.
func IsUnsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || errors.Is(err, ErrRefusedAddress)
}

// CheckURL says what is wrong with the URL of a receiver: it must be https, or http on loopback,
// with no login and no fragment.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("is no URL")
	case u.User != nil:
		return errors.New("must not have a login in it: requests are signed")
	case u.Hostname() == "" || u.Opaque != "":
		return errors.New("must name a host")
	case u.Fragment != "":
		return errors.New("must not have a fragment")
	case u.Scheme == "https":
	case u.Scheme == "http" && isLoopbackName(u.Hostname()):
	case u.Scheme == "http":
		return errors.New("must be https: http is only for this machine (127.0.0.1, ::1, localhost)")
	default:
		return errors.New("must be https, or http on loopback")
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil && isRefused(addr) {
		return errors.New("is a link-local address, or one where a cloud serves credentials")
	}
	return nil
}

func isLoopbackName(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

// onlyLoopback is the key of contexts whose connections may go to this machine alone.
type onlyLoopback struct{}

// dialChecked connects to an address that is not refused. The address is looked at after the name
// was resolved, right before the connection is made.
func dialChecked(ctx context.Context, network, address string) (net.Conn, error) {
	onlyHere, _ := ctx.Value(onlyLoopback{}).(bool)
	d := net.Dialer{Timeout: dialTimeout, Control: func(_, resolved string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(resolved)
		switch {
		case err != nil:
			return fmt.Errorf("%w: %s", ErrRefusedAddress, resolved)
		case isRefused(addr.Addr()):
			return fmt.Errorf("%w: %s", ErrRefusedAddress, addr.Addr())
		case onlyHere && !addr.Addr().Unmap().IsLoopback():
			return fmt.Errorf("%w: %s is not this machine", ErrRefusedAddress, addr.Addr())
		}
		return nil
	}}
	return d.DialContext(ctx, network, address)
}

// refusedPrefixes are where clouds serve the credentials of a machine, beside link-local addresses.
var refusedPrefixes = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle
	netip.MustParsePrefix("fd00:ec2::/32"),      // AWS
	netip.MustParsePrefix("fd20:ce::254/128"),   // Google
}

// nat64 and sixToFour are IPv6 addresses in which an IPv4 address stands.
var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
)

// isRefused reports whether an address is never connected to.
func isRefused(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	b := addr.As16()
	switch {
	case nat64.Contains(addr):
		return isRefused(netip.AddrFrom4([4]byte(b[12:])))
	case sixToFour.Contains(addr):
		return isRefused(netip.AddrFrom4([4]byte(b[2:6])))
	case addr.IsLinkLocalUnicast(), addr.IsMulticast(), addr.IsUnspecified(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return true
	}
	for _, p := range refusedPrefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
