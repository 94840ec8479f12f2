package server

import (
	"math"
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

func TestDescriptorsAreDivided(t *testing.T) {
	t.Parallel()
	for limit, want := range map[uint64]descriptorBudget{
		math.MaxUint64: {players: 1<<30 - 256, spare: 64, sockets: (1<<30 - 256) - (1<<30-256)/16},
		200_000:        {players: 199_744, spare: 64, sockets: 187_260},
		1024:           {players: 768, spare: 64, sockets: 720},
		300:            {players: 150, spare: 38, sockets: 141},
		20:             {players: 10, spare: 3, sockets: 10},
	} {
		require.Equal(t, want, divideDescriptors(limit, 1), limit)
	}
	require.Equal(t, 1024-256-2*64, divideDescriptors(1024, 3).players, "each further Redis server has a pool")
}
