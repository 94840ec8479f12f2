package engineio

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// The library asks for the request of a handshake five times. It is made once: making one starts a
// goroutine.
func TestTheRequestIsMadeOnce(t *testing.T) {
	t.Parallel()
	c := &Conn{}
	c.request.Store(&request{header: http.Header{"Origin": {"https://play.example"}}, uri: "/socket.io/?EIO=4&transport=websocket"})
	first := c.Request()
	require.Equal(t, "https://play.example", first.Headers().Peek("Origin"))
	require.Equal(t, "/socket.io/?EIO=4&transport=websocket", first.Request().RequestURI)
	require.Same(t, first, c.Request())
	c.Forget()
	require.NotSame(t, first, c.Request(), "the request is kept after Forget")
	require.Empty(t, c.Request().Headers().All())
}
