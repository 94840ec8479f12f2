package clientaddr_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/clientaddr"
)

func TestParseAndNetwork(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct{ addr, network string }{
		"203.0.113.7":               {"203.0.113.7", "203.0.113.7"},
		"203.0.113.7:49152":         {"203.0.113.7", "203.0.113.7"},
		`"203.0.113.7:49152"`:       {"203.0.113.7", "203.0.113.7"},
		`"203.0.113.7"`:             {"203.0.113.7", "203.0.113.7"},
		"2001:db8::7":               {"2001:db8::7", "2001:db8::/64"},
		"[2001:db8::7]":             {"2001:db8::7", "2001:db8::/64"},
		"[2001:db8::7]:443":         {"2001:db8::7", "2001:db8::/64"},
		`"[2001:db8::7]:443"`:       {"2001:db8::7", "2001:db8::/64"},
		"2001:DB8:0:0:0:0:0:7":      {"2001:db8::7", "2001:db8::/64"},
		"2001:db8:0:1::7":           {"2001:db8:0:1::7", "2001:db8:0:1::/64"},
		"fe80::1%eth0":              {"fe80::1", "fe80::/64"},
		"[fe80::1%eth0]:80":         {"fe80::1", "fe80::/64"},
		"::1":                       {"::1", "::/64"},
		"::ffff:203.0.113.7":        {"203.0.113.7", "203.0.113.7"},
		"[::ffff:203.0.113.7]:443":  {"203.0.113.7", "203.0.113.7"},
		"64:ff9b::203.0.113.7":      {"203.0.113.7", "203.0.113.7"},
		"64:ff9b::cb00:7107":        {"203.0.113.7", "203.0.113.7"},
		"[64:ff9b::cb00:7108]:4000": {"203.0.113.8", "203.0.113.8"},
		"64:ff9b::10.0.0.1":         {"64:ff9b::a00:1", "64:ff9b::a00:1"},
		"64:ff9b::127.0.0.1":        {"64:ff9b::7f00:1", "64:ff9b::7f00:1"},
	} {
		addr, err := clientaddr.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want.addr, addr.String(), text)
		require.Equal(t, want.network, clientaddr.Network(text), text)
	}
	for _, text := range []string{"", "unknown", "_hidden", `"`, `""`, "203.0.113.7:", "203.0.113.7:port", "1.2.3", "[2001:db8::7", "2001:db8::7]:443", "[]", "@", "a, b", "2001:db8::/64"} {
		_, err := clientaddr.Parse(text)
		require.Error(t, err, text)
	}
	for text, want := range map[string]string{
		"2001:db8::7/64": "2001:db8::/64", "2001:db8::/64": "2001:db8::/64", "203.0.113.0/24": "203.0.113.0/24", "account:ann": "account:ann", "": "",
	} {
		require.Equal(t, want, clientaddr.Network(text), text)
	}
}

func TestPeer(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for remote, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1", "[2001:db8::7]:5": "2001:db8::7", "[fe80::1%eth0]:5": "fe80::1", "[::ffff:192.0.2.1]:5": "192.0.2.1", "[64:ff9b::203.0.113.7]:5": "203.0.113.7", "@": "@",
	} {
		r.RemoteAddr = remote
		require.Equal(t, want, clientaddr.Peer(r), remote)
	}
}
