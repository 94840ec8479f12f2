package gateway

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/wiretest"
)

func TestExpiringIsTold(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t)
		c, _ := h.enter(t, "ann", transport)
		hold := h.book.the(t, "s-ann")
		hold.on.Expiring(1500 * time.Millisecond)
		c.Expect(`42["session:expiring",{"expiresInMs":1500}]`)
		alive(t, c)
		h.book.end("s-ann", "SESSION_EXPIRED", "over")
		hold.on.Expiring(time.Second) // too late to be told
		over(t, c, "SESSION_EXPIRED", "over")
	})
}

func TestOnlyOnesOwnCharacter(t *testing.T) {
	h := open(t, func(c *Config) {
		b := c.Auth.(*book)
		b.owners = map[string]string{"hers": "ann", "his": "bob"}
		c.Characters = b
	})
	c, _ := h.enter(t, "ann")
	require.Contains(t, ask(t, c, "session:character", `{"characterId":"hers"}`), `"characterId":"hers"`)
	for _, id := range []string{"his", "nobody's"} {
		require.Equal(t, `{"ok":false,"error":{"code":"FORBIDDEN","message":"That character is not yours."}}`,
			ask(t, c, "session:character", `{"characterId":"`+id+`"}`))
	}
	h.book.set(func() { h.book.broken = fault.Unavailable("profile", time.Second, errors.New("away")) })
	require.Contains(t, ask(t, c, "session:character", `{"characterId":"hers"}`), `"UNAVAILABLE"`)
	h.book.set(func() { h.book.broken = nil })
	require.Contains(t, ask(t, c, "game:whoami", ""), `"character":"hers"`)
}

// A client that leaves the namespace may come back over the same connection, and is identified by
// the headers of its handshake as before.
func TestTheSecondConnectHasTheHeadersToo(t *testing.T) {
	overBoth(t, func(t *testing.T, transport string) {
		h := open(t)
		c := wiretest.Open(t, h.url, transport, wiretest.Header{"Authorization": {"Bearer s-root"}})
		for range 3 {
			c.Connect("", "")
			require.Contains(t, c.Read(), `"userId":"root"`)
			require.True(t, strings.HasPrefix(c.Read(), `42["limits",`))
			c.Send("41")
		}
	})
}
