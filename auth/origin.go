package auth

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// HandshakeHeader copies the headers of a request that Authenticate needs, and its Host, so that
// they can be kept until CONNECT without the rest of the request.
func HandshakeHeader(r *http.Request) http.Header {
	out := make(http.Header, 5)
	for _, name := range []string{"Authorization", "Cookie", "Origin", "Sec-Fetch-Site"} {
		if values := r.Header[name]; len(values) > 0 {
			out[name] = values
		}
	}
	out.Set("Host", r.Host)
	return out
}

// mayUseCookie implements the table in the package documentation.
func (a *Service) mayUseCookie(h http.Header, socket bool) bool {
	if origins := h.Values("Origin"); len(origins) > 0 {
		return len(origins) == 1 && a.isAllowedOrigin(origins[0], h.Get("Host"))
	}
	switch h.Get("Sec-Fetch-Site") {
	case "same-origin":
		return true
	case "":
		return a.cfg.Dev || !socket
	}
	return false
}

func (a *Service) isAllowedOrigin(origin, ownHost string) bool {
	scheme, host, ok := splitOrigin(origin)
	if !ok {
		return false
	}
	if a.origins[scheme+"://"+host] {
		return true
	}
	if !a.cfg.Dev {
		return false
	}
	return host == trimDefaultPort(scheme, strings.ToLower(ownHost)) || isLoopback(host)
}

// splitOrigin parses scheme://host[:port] into lower case, without a default port.
func splitOrigin(origin string) (scheme, host string, ok bool) {
	if len(origin) > 512 {
		return "", "", false
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return "", "", false
	}
	scheme = strings.ToLower(u.Scheme)
	if scheme != "http" && scheme != "https" {
		return "", "", false
	}
	return scheme, trimDefaultPort(scheme, strings.ToLower(u.Host)), true
}

func trimDefaultPort(scheme, host string) string {
	port := ":80"
	if scheme == "https" {
		port = ":443"
	}
	return strings.TrimSuffix(host, port)
}

func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}
