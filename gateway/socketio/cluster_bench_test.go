package socketio

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/jsonpack"
	"github.com/aeturnis/realtime/internal/redistest"
)

const chatMessage = `{"id":"01HZX3J5Q7","channel":"zone:1","from":{"userId":"ann","username":"Ann","characterId":"ann"},"text":"hello, all of you","at":1767225600000}`

const tradeCompleted = `{"tradeId":"01M84ASS6PATDPGAKXNPCQGAAT","status":"completed","version":1,"parties":[` +
	`{"userId":"lt-hbgusv-2","characterId":"lt-hbgusv-2","offer":{"items":[{"itemId":"lt-hbgusv-coin","qty":1}],"gold":0},"accepted":true},` +
	`{"userId":"lt-hbgusv-3","characterId":"lt-hbgusv-3","offer":{"items":[],"gold":0},"accepted":true}],"createdAt":1795441812695,"expiresAt":1795442112695}`

// keepUp waits every 64 casts until Redis has taken them, so that the queue never fills.
func (w *world) keepUp(casts int64) {
	for casts%64 == 0 && w.ClusterStats().Published < casts {
		time.Sleep(20 * time.Microsecond)
	}
}

// BenchmarkClusterTellEach publishes what both sides of a trade are told.
func BenchmarkClusterTellEach(b *testing.B) {
	a := node(b, redistest.Server(b), ClusterConfig{})
	n := a.Of("/")
	b.ReportAllocs()
	for i := int64(1); b.Loop(); i++ {
		n.CastEach([]string{"user:ann", "user:bob"}, "trade:completed", func(d []byte) []byte { return append(d, tradeCompleted...) })
		a.keepUp(i)
	}
	b.StopTimer()
	require.Zero(b, a.ClusterStats().Unpublished)
}

// BenchmarkClusterTell publishes a cast.
func BenchmarkClusterTell(b *testing.B) {
	a := node(b, redistest.Server(b), ClusterConfig{})
	n := a.Of("/")
	b.ReportAllocs()
	for i := int64(1); b.Loop(); i++ {
		n.Cast("zone:1", "chat:message", func(d []byte) []byte { return append(d, chatMessage...) })
		a.keepUp(i)
	}
	b.StopTimer()
	require.Zero(b, a.ClusterStats().Unpublished)
}

// BenchmarkClusterHear delivers a broadcast of another node to a room of one member.
func BenchmarkClusterHear(b *testing.B) {
	a := node(b, redistest.Server(b), ClusterConfig{})
	a.member(b, "zone:1")
	n := a.Of("/").cluster
	m, ok := appendPacket(jsonpack.AppendText([]byte{0x93}, "other1"), []byte(`["chat:message",`+chatMessage+`]`), nil, "/", busDepth)
	require.True(b, ok)
	m = target{rooms: []socket.Room{"zone:1"}, volatile: true}.appendTo(m) // volatile: nobody reads so fast
	b.ReportAllocs()
	for b.Loop() {
		if !n.onBroadcast(m) {
			b.Fatal("refused")
		}
	}
}

// TestClusterSpendsNoMoreThanNode compares the bytes of a published broadcast with those that
// Node's adapter publishes for it.
func TestClusterSpendsNoMoreThanNode(t *testing.T) {
	t.Parallel()
	r := redistest.Server(t)
	a := node(t, r, ClusterConfig{})
	ps := r.Client().Subscribe(context.Background(), "socket.io#/#zone:1#")
	defer ps.Close()
	_, err := ps.Receive(context.Background())
	require.NoError(t, err)
	a.Of("/").Cast("zone:1", "chat:message", func(d []byte) []byte { return append(d, chatMessage...) })
	got, err := ps.ReceiveMessage(context.Background())
	require.NoError(t, err)
	// What notepack.io makes of ["uidsix", {type: 2, data: ["chat:message", …], nsp: "/"}, {rooms:
	// ["zone:1"], except: [], flags: {}}].
	const node = 181
	require.LessOrEqual(t, len(got.Payload), node, fmt.Sprintf("%q", got.Payload))
}
