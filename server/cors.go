package server

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/rs/cors"
)

// shared lets the pages of --allowed-origins read our answers, and with --dev the pages of
// this machine (CORS). Whose session a page may use is auth's to say.
func (n *node) shared(next http.Handler) http.Handler {
	allowed := map[string]bool{}
	for _, o := range n.cfg.AllowedOrigins {
		allowed[asSent(o)] = true
	}
	return cors.New(cors.Options{
		AllowOriginFunc: func(origin string) bool {
			return allowed[asSent(origin)] || n.cfg.Dev && fromHere(origin)
		},
		AllowedMethods:   []string{http.MethodGet, http.MethodPost},
		AllowedHeaders:   []string{"Authorization", "Content-Type"},
		ExposedHeaders:   []string{"Retry-After", "RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
		AllowCredentials: true,
		MaxAge:           600, // seconds
	}).Handler(next)
}

// asSent is an origin as browsers write it: in lower case, without the scheme's own port.
func asSent(origin string) string {
	o := strings.ToLower(origin)
	if strings.HasPrefix(o, "https:") {
		return strings.TrimSuffix(o, ":443")
	}
	return strings.TrimSuffix(o, ":80")
}

// fromHere tells whether the page comes from a loopback host.
func fromHere(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || !isOrigin(origin) {
		return false
	}
	host := u.Hostname()
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.IsLoopback()
}
