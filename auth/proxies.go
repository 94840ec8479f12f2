package auth

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/aeturnis/realtime/internal/clientaddr"
)

// Proxies are the networks of the proxies whose X-Forwarded-For, X-Forwarded-Host and
// X-Forwarded-Proto we believe.
// Without any, we believe nobody.
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

const (
	maxHops  = 16  // entries of X-Forwarded-For that are read, from its end
	maxHosts = 4   // entries of X-Forwarded-Host that are read
	maxHost  = 255 // bytes of such an entry
)

// The reasons of a ForwardProblem.
const (
	// UnreadableEntry is an entry of a trusted proxy that is no address, such as "unknown".
	UnreadableEntry = "unreadable"
	// NoEntry means that a trusted proxy does not say whose request it forwards.
	NoEntry = "missing"
	// UntrustedSender is a sender of X-Forwarded-For that is not one of the Proxies.
	UntrustedSender = "untrusted"
)

// A ForwardProblem is a reason why the address of a client may be that of a proxy. Then all clients
// of the proxy share what is counted by address.
type ForwardProblem struct {
	Reason string // UnreadableEntry, NoEntry or UntrustedSender
	Peer   string // the sender of the request
	Entry  string // of an UnreadableEntry, cut to 64 bytes
}

// Addr returns the client's IP address. Each proxy appends the address of its caller to
// X-Forwarded-For. So Addr reads the list from its end for as long as the proxies are trusted;
// anybody may have written what stands before. An entry may have a port, brackets and quotes, as
// Azure and IIS write them. An entry that is no address is skipped: the one before it is the best
// that is known. Addr does not read Forwarded and X-Real-IP.
func (p Proxies) Addr(r *http.Request) string {
	addr, _ := p.resolveClient(r)
	return addr
}

// Problem returns why Addr may not tell the clients of a proxy apart, or nil.
func (p Proxies) Problem(r *http.Request) *ForwardProblem {
	_, problem := p.resolveClient(r)
	return problem
}

func (p Proxies) resolveClient(r *http.Request) (string, *ForwardProblem) {
	peer := clientaddr.Peer(r)
	forwarded := r.Header.Values("X-Forwarded-For")
	at, err := clientaddr.Parse(peer)
	if err != nil || !p.isTrusted(at) {
		if len(forwarded) > 0 {
			return peer, &ForwardProblem{Reason: UntrustedSender, Peer: peer}
		}
		return peer, nil
	}
	var problem *ForwardProblem
	hops := lastEntries(forwarded, maxHops)
	for _, entry := range hops {
		hop, err := clientaddr.Parse(entry)
		if err != nil {
			if problem == nil {
				problem = &ForwardProblem{Reason: UnreadableEntry, Peer: peer, Entry: cutText(entry, 64)}
			}
			continue
		}
		at = hop
		if !p.isTrusted(at) {
			break
		}
	}
	if len(hops) == 0 {
		problem = &ForwardProblem{Reason: NoEntry, Peer: peer}
	}
	return at.String(), problem
}

// lastEntries returns the last entries of a header that is a list, from its end. An empty entry is
// none, as RFC 9110 (5.6.1) has it, but counts towards the bound.
func lastEntries(values []string, bound int) []string {
	var entries []string
	for i := len(values) - 1; i >= 0; i-- {
		for rest, hasMore := values[i], true; hasMore; bound-- {
			if bound == 0 {
				return entries
			}
			comma := strings.LastIndexByte(rest, ',')
			if entry := strings.Trim(rest[comma+1:], " \t"); entry != "" {
				entries = append(entries, entry)
			}
			rest, hasMore = rest[:max(comma, 0)], comma >= 0
		}
	}
	return entries
}

// Hosts returns the hosts under which the client asked: that of the request, and behind a trusted
// proxy those of X-Forwarded-Host. A page can not set either of them for a browser's request.
func (p Proxies) Hosts(r *http.Request) []string {
	hosts := []string{r.Host}
	forwarded := r.Header.Values("X-Forwarded-Host")
	if len(forwarded) == 0 {
		return hosts
	}
	if at, err := clientaddr.Parse(r.RemoteAddr); err != nil || !p.isTrusted(at) {
		return hosts
	}
	for _, host := range lastEntries(forwarded, maxHosts) {
		if len(host) <= maxHost {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// IsSecure reports whether the client asked over HTTPS: whether our connection has TLS or, behind a
// trusted proxy, whether the first entry of X-Forwarded-Proto is https.
func (p Proxies) IsSecure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	scheme, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	if !strings.EqualFold(strings.TrimSpace(scheme), "https") {
		return false
	}
	at, err := clientaddr.Parse(r.RemoteAddr)
	return err == nil && p.isTrusted(at)
}

// IsTrusted reports whether an address, with a port or without, is that of a trusted proxy.
func (p Proxies) IsTrusted(addr string) bool {
	at, err := clientaddr.Parse(addr)
	return err == nil && p.isTrusted(at)
}

func (p Proxies) isTrusted(a netip.Addr) bool {
	for _, network := range p {
		if network.Contains(a) {
			return true
		}
	}
	return false
}

// cutText bounds what a log line quotes of a client's text.
func cutText(text string, bound int) string {
	if len(text) > bound {
		text = text[:bound]
	}
	return strings.ToValidUTF8(text, "?")
}
