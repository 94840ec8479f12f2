package engineio

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// A tally follows sequences of messages "name:number" and notices what is lost, doubled or
// out of order. One goroutine adds messages; others may read count.
type tally struct {
	next  map[string]int
	wrong string // the first fault
	count atomic.Int32
}

func (l *tally) take(isBinary bool, data string) {
	name, number, _ := strings.Cut(data, ":")
	n, err := strconv.Atoi(strings.TrimRight(number, "."))
	if l.wrong == "" && (err != nil || n != l.next[name] || isBinary != (n%3 == 1)) {
		l.wrong = fmt.Sprintf("%q, binary %t, where %s:%d was due", data, isBinary, name, l.next[name])
	}
	l.next[name] = n + 1
	l.count.Add(1)
}

// numbered is message n of a sequence; every third is binary, and a few are long.
func numbered(name string, n int) (isBinary bool, data string) {
	data = name + ":" + strconv.Itoa(n)
	if n%500 == 7 {
		data += strings.Repeat(".", 70_000)
	}
	return n%3 == 1, data
}

const (
	pushers = 4   // goroutines that push to one connection
	ahead   = 400 // messages that a sender may be ahead of the other side
)

// pace waits until the other side is near.
func pace(sent int, heard *atomic.Int32, quit <-chan struct{}) bool {
	for sent-int(heard.Load()) > ahead {
		select {
		case <-quit:
			return false
		case <-time.After(50 * time.Microsecond):
		}
	}
	return true
}

func TestNothingIsLostDoubledOrReordered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                           string
		polling, upgrade, deflate, tls bool
		foreign                        bool // TLS of another package
	}{
		{name: "polling", polling: true},
		{name: "websocket"},
		{name: "through an upgrade", polling: true, upgrade: true},
		{name: "websocket, compressed", deflate: true},
		{name: "through an upgrade, compressed", polling: true, upgrade: true, deflate: true},
		{name: "websocket over TLS", tls: true},
		{name: "through an upgrade over TLS", polling: true, upgrade: true, tls: true},
		{name: "websocket over TLS, compressed", tls: true, deflate: true},
		{name: "websocket over TLS of another package", tls: true, foreign: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := &tally{next: map[string]int{}}
			s := newSite(Config{OutboundQueue: 64 << 20, Compression: c.deflate}, onMessage(func(_ *Conn, isBinary bool, data []byte) error {
				in.take(isBinary, string(data))
				return nil
			}))
			switch {
			case c.foreign:
				s.web.StartTLS()
				s.client = s.web.Client()
			case c.tls:
				s.startTLS(t)
			default:
				s.web.Start()
			}
			t.Cleanup(s.end)
			each := 10_000 // messages in each direction
			if raced && c.deflate {
				each /= 20
			}
			k := &talker{t: t, each: each, s: s, in: in, out: &tally{next: map[string]int{}}, deflate: c.deflate, quit: t.Context().Done()}
			k.run(c.polling, c.upgrade)
			require.Empty(t, in.wrong, "from the client")
			require.Empty(t, k.out.wrong, "to the client")
			require.Equal(t, int32(each), in.count.Load())
			require.Equal(t, int32(each), k.out.count.Load())
			require.Len(t, k.out.next, pushers)
		})
	}
}

// A talker is a client that behaves as the real one does.
type talker struct {
	t        *testing.T
	s        *site
	each     int
	upgrades bool
	in, out  *tally // what the server heard; what the client heard
	deflate  bool
	quit     <-chan struct{}

	p  *poller
	ws *websocket.Conn

	pause   chan struct{} // closed when polling should pause; nil when it never will
	paused  sync.WaitGroup
	resumed chan struct{} // closed when the websocket is the transport
}

func (k *talker) run(polling, upgrade bool) {
	var c *Conn
	if polling {
		k.p = k.s.poller(k.t)
		c = k.p.conn()
	} else {
		k.ws = k.dial("")
		_, open, err := k.ws.ReadMessage()
		require.NoError(k.t, err)
		c = k.s.findConn(parseOpening(k.t, string(open)).Sid)
	}
	k.upgrades = upgrade
	k.pause, k.resumed = make(chan struct{}), make(chan struct{})
	k.paused.Add(2)
	var all sync.WaitGroup
	all.Go(k.send)
	all.Go(k.receive)
	for g := range pushers {
		all.Go(func() { k.push(c, strconv.Itoa(g)) })
	}
	if k.upgrades {
		all.Go(k.upgrade)
	}
	all.Wait()
	if k.ws != nil {
		_ = k.ws.Close()
	}
}

func (k *talker) dial(sid string) *websocket.Conn {
	d := websocket.Dialer{EnableCompression: k.deflate}
	if tr, ok := k.s.client.Transport.(*http.Transport); ok && tr.TLSClientConfig != nil {
		d.TLSClientConfig = tr.TLSClientConfig.Clone()
		d.TLSClientConfig.NextProtos = nil
	}
	ws, _, err := d.Dial("ws"+strings.TrimPrefix(k.s.url("EIO=4&transport=websocket"+sid), "http"), nil)
	require.NoError(k.t, err)
	_ = ws.SetReadDeadline(time.Now().Add(6 * patience))
	return ws
}

func (k *talker) pausing() bool {
	select {
	case <-k.pause:
		return true
	default:
		return false
	}
}

// push is one of the goroutines on the server that send to the connection.
func (k *talker) push(c *Conn, name string) {
	for n := range k.each / pushers {
		if k.upgrades && n == k.each/pushers/2 {
			<-k.resumed // half is kept for the websocket
		}
		isBinary, data := numbered(name, n)
		m := NewText().Append(data)
		if isBinary {
			m = NewBinary([]byte(data))
		}
		ok := c.Push(m)
		m.Free()
		if !ok || !pace(n*pushers, &k.out.count, k.quit) {
			k.t.Errorf("push %s", data[:8])
			return
		}
	}
}

// send is the client's sending side: POSTs of a few packets each, then the websocket.
func (k *talker) send() {
	n := 0
	for n < k.each && k.ws == nil {
		var body []string
		for ; n < k.each && len(body) < 1+n%40; n++ {
			if isBinary, data := numbered("client", n); isBinary {
				body = append(body, "b"+base64.StdEncoding.EncodeToString([]byte(data)))
			} else {
				body = append(body, "4"+data)
			}
		}
		r, err := k.s.client.Post(k.s.url(k.p.query()), "text/plain", strings.NewReader(strings.Join(body, "\x1e")))
		if err != nil || r.StatusCode != http.StatusOK {
			k.t.Errorf("post: %v %v", err, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
		if k.upgrades && (n >= k.each/2 || k.pausing()) { // half is kept for the websocket
			<-k.pause
			k.paused.Done()
			<-k.resumed
		}
		pace(n, &k.out.count, k.quit) // so that both directions are under way at the upgrade
	}
	for ; n < k.each; n++ {
		isBinary, data := numbered("client", n)
		kind := websocket.BinaryMessage
		if !isBinary {
			kind, data = websocket.TextMessage, "4"+data
		}
		if err := k.ws.WriteMessage(kind, []byte(data)); err != nil {
			k.t.Error(err)
			return
		}
	}
	for deadline := time.Now().Add(patience); int(k.in.count.Load()) < k.each && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

// receive is the client's receiving side.
func (k *talker) receive() {
	polling := k.ws == nil
	for polling && int(k.out.count.Load()) < k.each {
		r, err := k.s.client.Get(k.s.url(k.p.query()))
		if err != nil || r.StatusCode != http.StatusOK {
			k.t.Errorf("poll: %v %v", err, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		for p := range strings.SplitSeq(string(body), "\x1e") {
			switch p[0] {
			case '4':
				k.out.take(false, p[1:])
			case 'b':
				data, err := base64.StdEncoding.DecodeString(p[1:])
				if err != nil {
					k.t.Error(err)
				}
				k.out.take(true, string(data))
			}
		}
		if k.pausing() {
			k.paused.Done()
			<-k.resumed
			polling = false
		}
	}
	for int(k.out.count.Load()) < k.each {
		kind, data, err := k.ws.ReadMessage()
		if err != nil {
			k.t.Errorf("after %d messages: %v", k.out.count.Load(), err)
			return
		}
		if kind == websocket.TextMessage {
			if data[0] != '4' {
				continue
			}
			data = data[1:]
		}
		k.out.take(kind == websocket.BinaryMessage, string(data))
	}
}

// upgrade takes the connection to a websocket in the middle of traffic.
func (k *talker) upgrade() {
	for int(k.out.count.Load()) < k.each/4 || int(k.in.count.Load()) < k.each/4 {
		select {
		case <-k.quit:
			return
		case <-time.After(time.Millisecond):
		}
	}
	ws := k.dial("&sid=" + k.p.sid)
	require.NoError(k.t, ws.WriteMessage(websocket.TextMessage, []byte("2probe")))
	_, reply, err := ws.ReadMessage()
	require.NoError(k.t, err)
	require.Equal(k.t, "3probe", string(reply))
	close(k.pause)
	k.paused.Wait()
	require.NoError(k.t, ws.WriteMessage(websocket.TextMessage, []byte("5")))
	k.ws = ws
	close(k.resumed)
}
