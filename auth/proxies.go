package auth

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the networks whose X-Forwarded-For we believe. Without any, we believe nobody.
type Proxies []netip.Prefix

// ParseProxies parses addresses and networks, such as "10.0.0.7", "10.0.0.0/8" and "2001:db8::/32".
func ParseProxies(texts []string) (Proxies, error) {
	var out Proxies
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", text)
			}
			p = netip.PrefixFrom(a.Unmap().WithZone(""), a.Unmap().BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// maxHops is how many entries of X-Forwarded-For are read, from its end.
const maxHops = 16

// Addr returns the client's IP address. Each proxy appends the address of its caller to
// X-Forwarded-For. So Addr reads the list from its end for as long as the proxies are trusted;
// anybody may have written what stands before. It does not read Forwarded and X-Real-IP.
func (p Proxies) Addr(r *http.Request) string {
	peer := r.RemoteAddr
	if host, _, err := net.SplitHostPort(peer); err == nil {
		peer = host
	}
	at, err := netip.ParseAddr(peer)
	if err != nil || !p.isTrusted(at) {
		return peer
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= max(0, len(hops)-maxHops); i-- {
		hop, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(hops[i]), "[]"))
		if err != nil {
			break // a trusted proxy says "unknown": the last address that we know counts
		}
		at = hop.Unmap().WithZone("")
		if !p.isTrusted(at) {
			break
		}
	}
	return at.String()
}

func (p Proxies) isTrusted(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, network := range p {
		if network.Contains(a) {
			return true
		}
	}
	return false
}
