package redisconn

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// ErrURL is the error that every *URLError is, by errors.Is.
var ErrURL = errors.New("bad Redis URL")

// A URLError says what is wrong with a Redis URL. It quotes no part of the URL that could hold a
// password.
type URLError struct {
	Reason string
}

// Error implements error.
func (e *URLError) Error() string { return ErrURL.Error() + ": " + e.Reason }

// Is makes errors.Is(err, ErrURL) true.
func (e *URLError) Is(target error) bool { return target == ErrURL }

// schemes are the known schemes, each with the form of its URLs.
var schemes = map[string]string{
	"redis":           "redis://[user:password@]host:port[/db]",
	"rediss":          "rediss://[user:password@]host:port[/db]",
	"unix":            "unix:///path/of/socket[?db=n]",
	"redis+sentinel":  "redis+sentinel://[user:password@]host:port,host:port/MASTER[/db]",
	"rediss+sentinel": "rediss+sentinel://[user:password@]host:port,host:port/MASTER[/db]",
	"redis+cluster":   "redis+cluster://[user:password@]host:port,host:port",
	"rediss+cluster":  "rediss+cluster://[user:password@]host:port,host:port",
}

const (
	maxURL   = 4096 // bytes
	maxAddrs = 64
	maxDB    = 1<<31 - 1
)

// A target is a parsed Redis URL.
type target struct {
	scheme   string
	user     string
	password string
	addrs    []string // host:port, or the socket's path
	master   string   // Sentinel only
	db       int
}

func (t *target) usesTLS() bool   { return strings.HasPrefix(t.scheme, "rediss") }
func (t *target) isCluster() bool { return strings.HasSuffix(t.scheme, "+cluster") }

// parseURL parses a URL. A password may be percent-encoded or not: the last @ ends it.
func parseURL(raw string) (*target, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	switch {
	case len(raw) > maxURL:
		return nil, &URLError{"longer than 4096 bytes"}
	case strings.ContainsFunc(raw, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return nil, &URLError{"it holds a control character"}
	case !ok:
		return nil, &URLError{"it has no scheme; wanted redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"}
	case schemes[scheme] == "":
		return nil, &URLError{"unknown scheme; wanted redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"}
	}
	t := &target{scheme: scheme}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		switch {
		case scheme != "unix" || rest[0] != '/':
			if err := t.parseCredentials(rest[:at]); err != nil {
				return nil, err
			}
			rest = rest[at+1:]
		case strings.Contains(rest[:at], ":"): // a slash too many, and a password in what we show as a path
			return nil, &URLError{"credentials stand before the path's first / (write an @ of the path as %40)"}
		}
	}
	rest, query, _ := strings.Cut(rest, "?")
	if err := t.parseQuery(query); err != nil {
		return nil, err
	}
	if scheme == "unix" {
		if len(rest) < 2 || rest[0] != '/' {
			return nil, &URLError{"a unix socket needs an absolute path: " + schemes["unix"]}
		}
		path, err := url.PathUnescape(rest)
		if err != nil {
			return nil, &URLError{"the path has a bad % escape"}
		}
		t.addrs = []string{path}
		return t, nil
	}
	hosts, path, _ := strings.Cut(rest, "/")
	if err := t.parseHosts(hosts); err != nil {
		return nil, err
	}
	return t, t.parsePath(path)
}

func (t *target) parseCredentials(info string) error {
	user, password, both := strings.Cut(info, ":")
	if !both && t.scheme != "unix" {
		return &URLError{"write credentials as user:password@ or :password@"}
	}
	var err1, err2 error
	t.user, err1 = url.PathUnescape(user)
	t.password, err2 = url.PathUnescape(password)
	if err1 != nil || err2 != nil {
		return &URLError{"the credentials have a bad % escape (write % as %25)"}
	}
	return nil
}

func (t *target) parseQuery(query string) error {
	if query == "" {
		return nil
	}
	name, value, _ := strings.Cut(query, "=")
	if name != "db" || t.isCluster() {
		return &URLError{"unknown parameter after ?; only db is known, and not on a Cluster"}
	}
	return t.parseDatabase(value)
}

func (t *target) parseDatabase(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > maxDB {
		return &URLError{"the database is not a number"}
	}
	t.db = n
	return nil
}

func (t *target) parseHosts(list string) error {
	many := t.isCluster() || strings.HasSuffix(t.scheme, "+sentinel")
	for _, s := range strings.Split(list, ",") {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			host, port = strings.Trim(s, "[]"), t.defaultPort()
			if strings.Contains(host, ":") && net.ParseIP(host) == nil {
				return &URLError{"write each server as host:port (an IPv6 address in [])"}
			}
		}
		n, err := strconv.Atoi(port)
		switch {
		case host == "" || strings.ContainsAny(host, " /?#%"):
			return &URLError{"a host is missing or malformed: " + schemes[t.scheme]}
		case err != nil || n < 1 || n > 65535:
			return &URLError{"a port is not a number from 1 to 65535"}
		}
		t.addrs = append(t.addrs, net.JoinHostPort(host, port))
	}
	switch {
	case len(t.addrs) > 1 && !many:
		return &URLError{"more than one server needs redis+sentinel:// or redis+cluster://"}
	case len(t.addrs) > maxAddrs:
		return &URLError{"more than 64 servers"}
	}
	return nil
}

func (t *target) defaultPort() string {
	if strings.HasSuffix(t.scheme, "+sentinel") {
		return "26379"
	}
	return "6379"
}

func (t *target) parsePath(path string) error {
	path = strings.TrimSuffix(path, "/")
	switch {
	case t.isCluster():
		if path != "" {
			return &URLError{"a Cluster has no databases: " + schemes[t.scheme]}
		}
		return nil
	case strings.HasSuffix(t.scheme, "+sentinel"):
		t.master, path, _ = strings.Cut(path, "/")
		if t.master == "" {
			return &URLError{"the master's name is missing: " + schemes[t.scheme]}
		}
	}
	if path == "" {
		return nil
	}
	return t.parseDatabase(path)
}

// Same tells whether two URLs name the same service, as far as the URLs show: they have a server or
// a socket in common and, with sentinels, the same master. The database and the login do not
// matter.
func Same(a, b string) bool {
	x, err1 := parseURL(a)
	y, err2 := parseURL(b)
	if err1 != nil || err2 != nil || x.master != y.master {
		return false
	}
	return slices.ContainsFunc(x.addrs, func(addr string) bool {
		return slices.ContainsFunc(y.addrs, func(other string) bool { return canonicalAddress(addr) == canonicalAddress(other) })
	})
}

// canonicalAddress returns one spelling of host:port for those that mean the same without a name
// service.
func canonicalAddress(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil { // a socket
		return path.Clean(addr)
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	if host == "localhost" || host == "::1" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// Login returns the user and the password of a URL. The error is a *URLError.
func Login(rawURL string) (user, password string, err error) {
	t, err := parseURL(rawURL)
	if err != nil {
		return "", "", err
	}
	return t.user, t.password, nil
}

// HasPassword tells whether a URL holds a password.
func HasPassword(rawURL string) bool {
	t, err := parseURL(rawURL)
	return err == nil && t.password != ""
}

// Redact returns the URL without its password and without what follows a ?. Of a URL that cannot be
// parsed it shows only the scheme.
func Redact(raw string) string {
	t, err := parseURL(raw)
	if err != nil {
		if scheme, _, ok := strings.Cut(raw, "://"); ok && schemes[scheme] != "" {
			return scheme + "://***"
		}
		return "***"
	}
	var b strings.Builder
	b.WriteString(t.scheme + "://")
	if t.user != "" || t.password != "" {
		b.WriteString(url.PathEscape(t.user) + ":***@")
	}
	b.WriteString(strings.Join(t.addrs, ","))
	if t.master != "" {
		b.WriteString("/" + t.master)
	}
	switch {
	case t.db == 0:
	case t.scheme == "unix":
		b.WriteString("?db=" + strconv.Itoa(t.db))
	default:
		b.WriteString("/" + strconv.Itoa(t.db))
	}
	return b.String()
}
