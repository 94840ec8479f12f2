package server

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Google's balancers keep connections for 600 seconds, and must not be the later ones to close.
func TestIdleConnectionsOutliveThoseOfABalancer(t *testing.T) {
	t.Parallel()
	n := newNode(Config{}.WithDefaults(), "")
	require.Equal(t, 620*time.Second, n.newHTTPServer(http.NewServeMux()).IdleTimeout)
}
