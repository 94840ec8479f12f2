package auth

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// HandshakeHeader copies the headers of a request that Authenticate needs, and its hosts, so that
// they can be kept until CONNECT without the rest of the request.
func (a *Service) HandshakeHeader(r *http.Request) http.Header {
	out := make(http.Header, 5)
	for _, name := range []string{"Authorization", "Cookie", "Origin", "Sec-Fetch-Site"} {
		if values := r.Header[name]; len(values) > 0 {
			out[name] = values
		}
	}
	if len(out["Origin"]) == 0 && len(out["Sec-Fetch-Site"]) == 0 {
		if referer := r.Header.Get("Referer"); referer != "" {
			out.Set("Referer", originOfPage(referer))
		}
	}
	out["Host"] = a.cfg.Hosts(r)
	return out
}

// originOfPage returns the origin of a page's URL, or "null".
func originOfPage(page string) string {
	if u, err := url.Parse(page); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host
	}
	return "null"
}

// mayUseCookie implements the table in the package documentation.
func (a *Service) mayUseCookie(h http.Header, socket bool) bool {
	if origins := h.Values("Origin"); len(origins) > 0 {
		return len(origins) == 1 && a.isAllowedOrigin(origins[0], h.Values("Host"))
	}
	switch h.Get("Sec-Fetch-Site") {
	case "same-origin":
		return true
	case "":
		if page := h.Get("Referer"); page != "" {
			return a.isAllowedOrigin(page, h.Values("Host"))
		}
		return a.cfg.Dev || !socket
	}
	return false
}

// refuseOrigin returns ErrOriginRefused with the details origin and host, which are for the log.
func refuseOrigin(h http.Header) error {
	return ErrOriginRefused.With("origin", describeOrigin(h.Values("Origin"))).With("host", cutText(strings.Join(h.Values("Host"), ", "), 256))
}

// RefusedOrigin returns the Origin of a request whose page may not use this gateway: neither one of
// AllowedOrigins, nor on a host of the request, nor with Dev on a loopback host. It returns "" for
// every other request, such as one without an Origin. Several Origins are returned as a list, and
// long ones are cut to 256 bytes.
func (a *Service) RefusedOrigin(r *http.Request) string {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 || len(origins) == 1 && a.isAllowedOrigin(origins[0], a.cfg.Hosts(r)) {
		return ""
	}
	return describeOrigin(origins)
}

func describeOrigin(origins []string) string {
	text := strings.Join(origins, ", ")
	if text == "" && len(origins) > 0 {
		return `""`
	}
	return cutText(text, 256)
}

// isAllowedOrigin reports whether pages of that origin may use this gateway; ownHosts are those of
// the request.
func (a *Service) isAllowedOrigin(origin string, ownHosts []string) bool {
	scheme, host, ok := splitOrigin(origin)
	if !ok {
		return false
	}
	isOwn := func(own string) bool { return host == trimDefaultPort(scheme, strings.ToLower(own)) }
	return a.origins[scheme+"://"+host] || slices.ContainsFunc(ownHosts, isOwn) || a.cfg.Dev && isLoopback(host)
}

// IsOrigin reports whether text is an origin that a browser may send, such as https://play.example:
// http or https, a host, and no path, not even /.
func IsOrigin(text string) bool {
	_, _, ok := splitOrigin(text)
	return ok
}

// splitOrigin parses scheme://host[:port] into lower case, without a default port.
func splitOrigin(origin string) (scheme, host string, ok bool) {
	if len(origin) > 512 {
		return "", "", false
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || !strings.EqualFold(origin, u.Scheme+"://"+u.Host) {
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
