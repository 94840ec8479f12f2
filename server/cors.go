package server

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/rs/cors"
)

// allowOrigins lets the pages of AllowedOrigins read our answers, and with Dev the pages of this
// machine (CORS). Package auth decides whose session a page may use.
func (n *node) allowOrigins(next http.Handler) http.Handler {
	allowed := map[string]bool{}
	for _, o := range n.cfg.AllowedOrigins {
		allowed[normalizeOrigin(o)] = true
	}
	return cors.New(cors.Options{
		AllowOriginFunc: func(origin string) bool {
			return allowed[normalizeOrigin(origin)] || n.cfg.Dev && isLoopbackOrigin(origin)
		},
		AllowedMethods:   []string{http.MethodGet, http.MethodPost},
		AllowedHeaders:   []string{"Authorization", "Content-Type"},
		ExposedHeaders:   []string{"Retry-After", "RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
		AllowCredentials: true,
		MaxAge:           600, // seconds
	}).Handler(next)
}

// normalizeOrigin returns an origin as browsers write it: in lower case, without the scheme's own
// port.
func normalizeOrigin(origin string) string {
	o := strings.ToLower(origin)
	if strings.HasPrefix(o, "https:") {
		return strings.TrimSuffix(o, ":443")
	}
	return strings.TrimSuffix(o, ":80")
}

// isLoopbackOrigin reports whether the page comes from a loopback host.
func isLoopbackOrigin(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || !isOrigin(origin) {
		return false
	}
	host := u.Hostname()
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.IsLoopback()
}
