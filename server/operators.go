package server

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/aeturnis/realtime/fault"
)

var (
	errForeignHost = fault.New(fault.ErrForbidden.Code, "The operators' address answers only hosts that are loopback, an IP address or one of --admin-hosts.")
	errNotLocal    = fault.New(fault.ErrForbidden.Code, "Profiles are for requests of this machine.")
	errCrossSite   = fault.New(fault.ErrForbidden.Code, "The operators' address answers no requests of other sites.")
)

// guardOperators refuses what a page in an operator's browser could ask of the operators' address,
// which asks for no login: requests of another site, and those that name a host which is neither
// loopback, nor an IP address, nor one of Config.AdminHosts (DNS rebinding).
func (n *node) guardOperators(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !n.cfg.isOperatorsHost(r.Host):
			errForeignHost.WriteProblem(w)
		case isCrossSite(r):
			errCrossSite.WriteProblem(w)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// fromThisMachine returns a handler that answers loopback addresses alone. A profile slows the
// process down and shows what is in its memory, so who reaches --admin-addr over a network, such as
// Prometheus, gets none.
func fromThisMachine(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !peer.Addr().Unmap().IsLoopback() {
			errNotLocal.WriteProblem(w)
			return
		}
		next(w, r)
	}
}

// isOperatorsHost reports whether the header Host of a request names the operators' address. A
// request of HTTP/1.0 may have none, and browsers send no such request.
func (c *Config) isOperatorsHost(host string) bool {
	if host == "" {
		return true
	}
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host // without a port
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost") ||
		slices.ContainsFunc(c.AdminHosts, func(listed string) bool { return strings.EqualFold(listed, name) })
}

// isCrossSite reports whether a browser says that a page of another origin asks.
func isCrossSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || !strings.EqualFold(u.Host, r.Host)
}
