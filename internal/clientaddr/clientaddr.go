// Package clientaddr is the one place that parses the address of a client and says whose it is.
// The bounds of connections, the limits, the lockout of logins and the logs all use it, so that
// they agree on who is who.
package clientaddr

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
)

// errNoAddress is returned for a text that is no address.
var errNoAddress = errors.New("not an IP address")

// nat64 is the well-known prefix of translators between IPv4 and IPv6 (RFC 6052, 2.1). The last
// four bytes of such an address are those of the IPv4 client.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// Parse parses an IP address as net/http and proxies write it: with a port or without, in brackets,
// in double quotes, with a zone. It returns the client's own address: without a zone, and as IPv4
// when it is IPv4 in IPv6 (::ffff:0:0/96) or was translated by NAT64 (64:ff9b::/96).
func Parse(text string) (netip.Addr, error) {
	text = strings.Trim(text, " \t")
	if len(text) > 1 && text[0] == '"' && text[len(text)-1] == '"' {
		text = text[1 : len(text)-1]
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		return normalize(addr), nil
	}
	if at, err := netip.ParseAddrPort(text); err == nil {
		return normalize(at.Addr()), nil
	}
	inner, isBracketed := strings.CutPrefix(text, "[")
	if inner, isClosed := strings.CutSuffix(inner, "]"); isBracketed && isClosed {
		if addr, err := netip.ParseAddr(inner); err == nil {
			return normalize(addr), nil
		}
	}
	return netip.Addr{}, errNoAddress
}

// Peer returns the address at the other end of the request's connection. Where that is none, as on
// a Unix socket, it returns what stands there.
func Peer(r *http.Request) string {
	addr, err := Parse(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return addr.String()
}

// normalize returns the client's own address.
func normalize(addr netip.Addr) netip.Addr {
	addr = addr.WithZone("").Unmap()
	if !nat64.Contains(addr) {
		return addr
	}
	bytes := addr.As16()
	if inner := netip.AddrFrom4([4]byte(bytes[12:])); inner.IsGlobalUnicast() && !inner.IsPrivate() {
		return inner
	}
	return addr // RFC 6052, 3.1: nobody translates these, so somebody made it up
}

// Network returns what one customer of a provider is given, as text: an IPv4 address, or the /64 of
// an IPv6 address, such as 2001:db8::/64. All that counts by address counts by this. A network
// stays a network; what is no address stays as it is.
func Network(text string) string {
	if isPlain(text) {
		return text
	}
	if network, err := netip.ParsePrefix(text); err == nil {
		return network.Masked().String()
	}
	addr, err := Parse(text)
	if err != nil {
		return text
	}
	if addr.Is4() || nat64.Contains(addr) {
		return addr.String()
	}
	return netip.PrefixFrom(addr, 64).Masked().String()
}

// isPlain reports whether text can only be an IPv4 address, or none: most are, and Network is
// called for each connection and each limit.
func isPlain(text string) bool {
	return !strings.ContainsAny(text, ":/\"")
}
