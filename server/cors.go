package server

import (
	"net/http"

	"github.com/rs/cors"
)

// allowOrigins lets the pages of allowed origins send what they like and read our answers (CORS):
// the client libraries and tracing tools of a page add headers of their own, and Node's server lets
// them. Package auth decides which origins are allowed, and whose session a page may use.
func (n *node) allowOrigins(next http.Handler) http.Handler {
	return cors.New(cors.Options{
		AllowOriginVaryRequestFunc: func(r *http.Request, _ string) (bool, []string) {
			refused := n.logins.auth.RefusedOrigin(r)
			if refused != "" && r.Method == http.MethodOptions { // the request itself will not come
				n.logins.callers.noteForeignPage(r, refused, transportOf(r))
			}
			return refused == "", nil
		},
		AllowedMethods:   []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowedHeaders:   []string{"*"},
		ExposedHeaders:   []string{"Retry-After", "RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
		AllowCredentials: true,
		MaxAge:           600, // seconds
	}).Handler(next)
}
