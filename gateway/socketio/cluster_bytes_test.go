package socketio

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/redistest"
	"github.com/aeturnis/realtime/internal/wiretest"
)

// TestClusterBytesPerNode measures what Redis sends to four nodes when each has 25 of 100 rooms,
// and another node casts to each room ten times. It is a quarter of what a node gets that
// subscribes to everything, as Node's adapter does.
func TestClusterBytesPerNode(t *testing.T) {
	t.Parallel()
	const rooms, casts, n = 100, 10, 4
	r := redistest.Server(t)
	w := nodes(t, r, n)
	var members []*wiretest.Client
	for i, x := range w {
		var names []string
		for room := i; room < rooms; room += n {
			names = append(names, fmt.Sprint("room:", room))
		}
		c, _ := x.member(t, names...)
		members = append(members, c)
	}
	everything := r.Client().PSubscribe(t.Context(), "socket.io#/#*")
	t.Cleanup(func() { _ = everything.Close() })
	_, err := everything.Receive(t.Context())
	require.NoError(t, err)

	var before []int64
	for _, x := range w {
		before = append(before, x.ClusterStats().Bytes)
	}
	for room := range rooms {
		from := w[(room+1)%n]
		for range casts {
			from.Of("/").Cast(fmt.Sprint("room:", room), "chat:message", func(d []byte) []byte { return append(d, chatMessage...) })
		}
	}
	for _, c := range members {
		for range rooms / n * casts {
			require.True(t, strings.HasPrefix(c.Read(), `42["chat:message",`))
		}
	}
	all := 0 // bytes of payload that a node is sent that hears everything
	for range rooms * casts {
		m, err := everything.ReceiveMessage(t.Context())
		require.NoError(t, err)
		all += len(m.Payload)
	}
	most := 0
	for i, x := range w {
		received := int(x.ClusterStats().Bytes - before[i])
		t.Logf("node %d was sent %d bytes of casts; one that hears everything %d", i, received, all)
		most = max(most, received)
	}
	require.InDelta(t, 0.25, float64(most)/float64(all), 0.05)
}
