package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/internal/cli"
	"github.com/aeturnis/realtime/internal/redistest"
)

// A target is a live gateway to which the inputs of advisories are sent.
type target struct {
	*gate
	host    string // of the players' address
	session string // of the user ann
	redis   *redistest.Instance
}

// advisories are the published faults of Socket.IO, of what it is made of, and of other servers of
// the same protocols. Each sends the input of the report, and checks what the client gets.
var advisories = []struct {
	id   string
	send func(t *testing.T, g *target)
}{
	{"CVE-2016-10518", pingsAreEchoedExactly},
	{"CVE-2016-10542", hugeFramesAreRefusedUnread},
	{"CVE-2017-16031", idsAreNotGuessed},
	{"CVE-2020-27813", lengthsThatOverflowAreRefused},
	{"CVE-2020-28481", foreignPagesGetNothing},
	{"CVE-2020-36048", largePostsAreNotRead},
	{"CVE-2020-36049", longPacketsAreRefusedAtOnce},
	{"CVE-2021-32640", protocolsAreParsedAtOnce},
	{"CVE-2022-21676", reservedBitsEndTheWebsocket},
	{"CVE-2022-2421", placeholdersMustFit},
	{"CVE-2022-25867", payloadsMustBeLists},
	{"CVE-2022-41940", resetsOfRefusedUpgrades},
	{"CVE-2023-31125", namesOfJavaScriptInTheQuery},
	{"CVE-2023-32695", namesOfEventsAreTexts},
	{"CVE-2024-37890", manyHeaders},
	{"CVE-2024-38355", theEventError},
	{"CVE-2024-47764", nothingIsWrittenIntoTheCookie},
	{"CVE-2025-61765", objectsOnTheBus},
	{"CVE-2026-33151", attachmentsAreCounted},
	{"CVE-2026-45736", closeFramesHaveNothingElse},
	{"CVE-2026-48779", tinyFragments},
	{"CVE-2026-48802", pongsThatNobodyAskedFor},
	{"CVE-2026-48804", attachmentsAreBounded},
	{"CVE-2026-59725", binaryPostsAreAnswered},
	{"CVE-2026-69185", packetsOfNoAttachments},
	{"GHSA-5v72-xg48-5rpm", extensionsWithNamesOfJavaScript},
}

// Whatever was reported of Socket.IO and its kin is sent to a live gateway, whose other players
// notice nothing. docs/security.md has a row for each.
func TestPublishedAdvisories(t *testing.T) {
	t.Parallel()
	server := redistest.Server(t)
	g := &target{
		gate:    serve(t, "--redis", server.URL(), "--dev", "--limit", "connect=off", "--max-connections-per-user", "0"),
		session: create(t, server.URL(), "ann"), redis: server,
	}
	g.host = strings.TrimPrefix(g.public, "http://")
	bystander := g.connect(create(t, server.URL(), "bob"))
	bystander.ok("chat:join", `{"channel":"global"}`)
	listed := []string{}
	for _, a := range advisories {
		listed = append(listed, a.id)
		t.Run(a.id, func(t *testing.T) {
			a.send(t, g)
			bystander.ok("session:ping", "")
			require.Equal(t, 200, do(t, "GET", g.public+"/health/ready", "").status)
		})
	}
	_, section, found := strings.Cut(textOf(t, "../../docs/security.md"), "\n## Socket.IO's CVEs\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	documented := []string{}
	for _, row := range regexp.MustCompile(`(?m)^\| ((?:CVE|GHSA)-[\w-]+)`).FindAllStringSubmatch(section, -1) {
		documented = append(documented, row[1])
	}
	require.ElementsMatch(t, listed, documented, "docs/security.md has one row for each")
}

// inside connects a player, who is ready for the next packet.
func (g *target) inside() *player { return g.connect(g.session) }

// poll opens a connection over polling, and connects it.
func (g *target) poll(t *testing.T) (url string) {
	t.Helper()
	a := do(t, "GET", g.public+"/socket.io/"+pollQuery, "")
	require.Equal(t, 200, a.status)
	sid := regexp.MustCompile(`"sid":"([^"]+)"`).FindSubmatch(a.body)
	require.NotNil(t, sid)
	url = g.public + "/socket.io/" + pollQuery + "&sid=" + string(sid[1])
	require.Equal(t, 200, do(t, "POST", url, `40{"sessionId":"`+g.session+`"}`).status)
	require.Contains(t, string(do(t, "GET", url, "").body), "40{")
	return url
}

// tcp opens a connection to the players' address.
func (g *target) tcp(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", g.host)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

// A rawSocket is a websocket whose frames are written by hand.
type rawSocket struct {
	t *testing.T
	net.Conn
	answers *bufio.Reader
}

const upgradeHeaders = "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// upgrade asks for a websocket with some more headers, and returns the answer.
func (g *target) upgrade(t *testing.T, query, headers string) (*rawSocket, *http.Response) {
	t.Helper()
	c := g.tcp(t)
	w := &rawSocket{t, c, bufio.NewReader(c)}
	_, err := io.WriteString(c, "GET /socket.io/?"+query+" HTTP/1.1\r\n"+upgradeHeaders+headers+"\r\n")
	require.NoError(t, err)
	r, err := http.ReadResponse(w.answers, nil)
	require.NoError(t, err)
	return w, r
}

// websocket opens a websocket that has said nothing yet.
func (g *target) websocket(t *testing.T) *rawSocket {
	t.Helper()
	w, r := g.upgrade(t, "EIO=4&transport=websocket", "")
	require.Equal(t, http.StatusSwitchingProtocols, r.StatusCode)
	_, open := w.next()
	require.True(t, strings.HasPrefix(string(open), "0{"), "%q", open)
	return w
}

// insideRaw opens a websocket that is connected.
func (g *target) insideRaw(t *testing.T) *rawSocket {
	t.Helper()
	w := g.websocket(t)
	w.write(textFrame(`40{"sessionId":"` + g.session + `"}`))
	w.hears("40{")
	w.hears(`42["limits"`)
	return w
}

const (
	fin          = 0x80
	opText       = 1
	opClose      = 8
	opPing       = 9
	opPong       = 10
	maskedWith0s = "\x00\x00\x00\x00"
)

// rawFrame returns a masked frame.
func rawFrame(first byte, payload string) []byte {
	b := frameHead(first, uint64(len(payload)))
	if len(payload) < 126 {
		b = append([]byte{first, fin | byte(len(payload))}, maskedWith0s...)
	}
	return append(b, payload...)
}

func textFrame(text string) []byte { return rawFrame(fin|opText, text) }

// frameHead returns the beginning of a masked frame that announces so many bytes.
func frameHead(first byte, size uint64) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{first, fin | 127}, size), maskedWith0s...)
}

func (w *rawSocket) write(b ...[]byte) {
	w.t.Helper()
	for _, part := range b {
		if _, err := w.Write(part); err != nil {
			return // the gateway has closed: what it said before is read
		}
	}
}

// next returns the next frame of the gateway; op is 0 when there is none.
func (w *rawSocket) next() (op byte, payload []byte) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(w.answers, head); err != nil {
		return 0, nil
	}
	size := uint64(head[1])
	if extra := map[uint64]int{126: 2, 127: 8}[size]; extra > 0 {
		b := make([]byte, 8)
		if _, err := io.ReadFull(w.answers, b[8-extra:]); err != nil {
			return 0, nil
		}
		size = binary.BigEndian.Uint64(b)
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(w.answers, payload); err != nil {
		return 0, nil
	}
	return head[0] &^ fin, payload
}

// hears waits for a text that begins so.
func (w *rawSocket) hears(prefix string) {
	w.t.Helper()
	for {
		op, payload := w.next()
		require.NotZero(w.t, op, "the connection ended before %s", prefix)
		if op == opText && strings.HasPrefix(string(payload), prefix) {
			return
		}
	}
}

// closed waits for the close frame, and returns its code and what else it has.
func (w *rawSocket) closed() (code int, rest string) {
	w.t.Helper()
	for {
		op, payload := w.next()
		require.NotZero(w.t, op, "there is no close frame")
		if op == opClose {
			require.GreaterOrEqual(w.t, len(payload), 2)
			return int(binary.BigEndian.Uint16(payload)), string(payload[2:])
		}
	}
}

// endsAsMalformed sends packets for which a client is told that they are malformed, and closed.
func endsAsMalformed(t *testing.T, g *target, why string, packets ...string) {
	t.Helper()
	p := g.inside()
	for _, packet := range packets {
		kind := websocket.TextMessage
		if strings.HasPrefix(packet, "binary:") {
			kind = websocket.BinaryMessage
		}
		p.writing.Lock()
		_ = p.conn.WriteMessage(kind, []byte(strings.TrimPrefix(packet, "binary:")))
		p.writing.Unlock()
	}
	told := p.event("error")
	require.Contains(t, told["message"], why, "%.80q", packets)
	require.False(t, p.ended())
}

// ws up to 1.0.0 answered a ping that was a number with so many bytes of its memory.
func pingsAreEchoedExactly(t *testing.T, g *target) {
	w := g.websocket(t)
	for _, text := range []string{"", "100", strings.Repeat("p", 125)} {
		w.write(rawFrame(fin|opPing, text))
		op, payload := w.next()
		require.EqualValues(t, opPong, op)
		require.Equal(t, text, string(payload))
	}
	w.write(append([]byte{fin | opPing, fin | 100}, maskedWith0s...), []byte("abc"), []byte(strings.Repeat("d", 97)))
	op, payload := w.next()
	require.EqualValues(t, opPong, op)
	require.Equal(t, "abc"+strings.Repeat("d", 97), string(payload), "what was announced, once it has come")
}

// ws up to 1.1.0 buffered messages of any size.
func hugeFramesAreRefusedUnread(t *testing.T, g *target) {
	w := g.insideRaw(t)
	w.write(frameHead(fin|opText, 256<<20))
	code, _ := w.closed()
	require.Equal(t, 1009, code)
}

// gorilla/websocket up to 1.4.0 added up lengths until they were negative.
func lengthsThatOverflowAreRefused(t *testing.T, g *target) {
	for size, want := range map[uint64][]int{1<<63 - 1: {1009}, 1 << 63: {1002, 1009}, 1<<64 - 1: {1002, 1009}} {
		w := g.insideRaw(t)
		w.write(rawFrame(opText, "42["), frameHead(fin, size))
		code, _ := w.closed()
		require.Contains(t, want, code)
	}
}

// Socket.IO up to 0.9.6 made its ids by Math.random.
func idsAreNotGuessed(t *testing.T, g *target) {
	seen := map[string]bool{}
	for range 200 {
		a := do(t, "GET", g.public+"/socket.io/"+pollQuery, "")
		sid := regexp.MustCompile(`"sid":"([A-Za-z0-9_-]{20})"`).FindSubmatch(a.body) // 120 bits
		require.NotNil(t, sid, "%s", a.body)
		require.False(t, seen[string(sid[1])])
		seen[string(sid[1])] = true
	}
	require.Regexp(t, `^[A-Za-z0-9_-]{43}$`, g.session, "256 bits")
}

// Socket.IO up to 2.3 let pages of every origin read its answers.
func foreignPagesGetNothing(t *testing.T, g *target) {
	const evil = "https://evil.example"
	a := do(t, "GET", g.public+"/socket.io/"+pollQuery, "", "Origin", evil)
	require.Empty(t, a.header.Get("Access-Control-Allow-Origin"))
	require.Empty(t, a.header.Get("Access-Control-Allow-Credentials"))
	w, r := g.upgrade(t, "EIO=4&transport=websocket", "Origin: "+evil+"\r\nCookie: sid="+g.session+"\r\n")
	require.Equal(t, http.StatusSwitchingProtocols, r.StatusCode)
	w.write(textFrame("40"))
	w.hears(`44{"message":"This page may not use your session","data":{"code":"ORIGIN_REFUSED"`)
}

// engine.io up to 3.5 buffered POSTs of 100 MB.
func largePostsAreNotRead(t *testing.T, g *target) {
	path := strings.TrimPrefix(g.poll(t), g.public)
	c := g.tcp(t)
	_, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n", path)
	require.NoError(t, err)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusRequestEntityTooLarge, r.StatusCode)
	require.True(t, r.Close)

	path = strings.TrimPrefix(g.poll(t), g.public)
	c = g.tcp(t)
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", path)
	require.NoError(t, err)
	chunk := "100000\r\n" + strings.Repeat("x", 1<<20) + "\r\n"
	sent := 0
	for ; sent < 100 && err == nil; sent++ {
		_, err = io.WriteString(c, chunk)
	}
	require.Less(t, sent, 50, "it was not read: only buffers of the kernel took some")
}

// socket.io-parser up to 3.4.0 put long ids together digit by digit.
func longPacketsAreRefusedAtOnce(t *testing.T, g *target) {
	for _, packet := range []string{"42" + strings.Repeat("1", 900_000), "42/" + strings.Repeat("n", 900_000), "45" + strings.Repeat("1", 900_000) + "-[]"} {
		began := time.Now()
		endsAsMalformed(t, g, "malformed packet", packet)
		require.Less(t, time.Since(began), 5*time.Second)
	}
	began := time.Now()
	url := g.poll(t)
	require.Equal(t, 400, do(t, "POST", url, strings.Repeat("42[]\x1e", 100_000)).status)
	require.Less(t, time.Since(began), 5*time.Second)
}

// ws up to 7.4.5 took seconds for a header with many spaces.
func protocolsAreParsedAtOnce(t *testing.T, g *target) {
	began := time.Now()
	_, r := g.upgrade(t, "EIO=4&transport=websocket", "Sec-WebSocket-Protocol: b"+strings.Repeat(" ", 12_000)+"x\r\n")
	require.Contains(t, []int{http.StatusSwitchingProtocols, http.StatusBadRequest}, r.StatusCode)
	require.Less(t, time.Since(began), 5*time.Second)
}

// engine.io up to 6.1.0 ended the process for a frame with reserved bits.
func reservedBitsEndTheWebsocket(t *testing.T, g *target) {
	for _, bits := range []byte{0x10, 0x20, 0x30, 0x40, 0x70} {
		for _, w := range []*rawSocket{g.websocket(t), g.insideRaw(t)} {
			w.write(rawFrame(fin|bits|opText, "2probe"))
			code, _ := w.closed()
			require.Equal(t, 1002, code)
		}
	}
	_, query, _ := strings.Cut(g.poll(t), "?")
	w, r := g.upgrade(t, strings.Replace(query, "polling", "websocket", 1), "")
	require.Equal(t, http.StatusSwitchingProtocols, r.StatusCode)
	w.write(rawFrame(fin|0x30|opText, "2probe"))
	op, answer := w.next()
	require.Zero(t, op, "the probe of an upgrade is not answered: %q", answer)
}

// socket.io-parser up to 4.2.0 took any value as the number of an attachment.
func placeholdersMustFit(t *testing.T, g *target) {
	for _, num := range []string{`"splice"`, `"0"`, `"__proto__"`, `-1`, `1`, `0.5`, `1e99`, `null`, `true`, `[0]`, `{"toString":0}`} {
		endsAsMalformed(t, g, "a placeholder of no attachment", `451-["chat:message",{"_placeholder":true,"num":`+num+`}]`, "binary:abc")
	}
	endsAsMalformed(t, g, "a placeholder of no attachment", `451-["chat:message",{"_placeholder":true}]`, "binary:abc")
}

// socket.io-client-java up to 2.0.0 took payloads of every type.
func payloadsMustBeLists(t *testing.T, g *target) {
	for _, packet := range []string{"42", "42null", "42{}", "42[]", "42[null]", "42[1]", `42"a"`, "430", "430{}", "43[]", "41{}", "44{}", "4", "49[]"} {
		endsAsMalformed(t, g, "malformed packet", packet)
	}
}

// engine.io up to 6.2.0 ended the process when a client reset an upgrade that was refused.
func resetsOfRefusedUpgrades(t *testing.T, g *target) {
	for _, query := range []string{"EIO=4&transport=websocket&sid=none", "EIO=4&transport=none", "EIO=3&transport=websocket", "EIO=4&transport=polling", "EIO=4&transport=websocket"} {
		for n := range 10 {
			c := g.tcp(t)
			_, err := io.WriteString(c, "GET /socket.io/?"+query+" HTTP/1.1\r\n"+upgradeHeaders+"\r\nrubbish")
			require.NoError(t, err)
			if n%2 == 0 {
				_, _ = c.Read(make([]byte, 1)) // an answer, or the end
			}
			require.NoError(t, c.(*net.TCPConn).SetLinger(0)) // Close is a reset then
			require.NoError(t, c.Close())
		}
	}
}

// engine.io up to 6.4.1 ended the process for transport=__proto__.
func namesOfJavaScriptInTheQuery(t *testing.T, g *target) {
	for _, name := range []string{"__proto__", "constructor", "toString", "hasOwnProperty"} {
		for query, want := range map[string]string{
			"EIO=4&transport=" + name:                      `{"code":0,"message":"Transport unknown"}`,
			"EIO=" + name + "&transport=polling":           `{"code":5,"message":"Unsupported protocol version"}`,
			"EIO=4&transport=polling&sid=" + name:          `{"code":1,"message":"Session ID unknown"}`,
			"EIO=4&transport=polling&transport=" + name:    "",
			"EIO=4&transport[" + name + "]=websocket":      `{"code":0,"message":"Transport unknown"}`,
			"EIO=4&transport=polling&" + name + "=polling": "",
		} {
			a := do(t, "GET", g.public+"/socket.io/?"+query, "")
			if want == "" {
				require.Equal(t, 200, a.status, query)
				continue
			}
			require.Equal(t, 400, a.status, query)
			require.JSONEq(t, want, string(a.body), query)
		}
		_, r := g.upgrade(t, "EIO=4&transport="+name, "")
		require.Equal(t, 400, r.StatusCode)
	}
}

// socket.io-parser up to 4.2.2 ended the process for an event whose name is an object.
func namesOfEventsAreTexts(t *testing.T, g *target) {
	endsAsMalformed(t, g, "an event's name is a string", `42[{"toString":"foo"}]`)
	endsAsMalformed(t, g, "an event's name is a string", `42[["a"],"b"]`)
	p := g.inside()
	for _, name := range []string{"__proto__", "constructor", "toString", "hasOwnProperty", "domain", "then"} {
		require.Equal(t, "UNKNOWN_EVENT", p.refused(name, `{"__proto__":{"roles":["admin"]}}`)["code"], name)
	}
}

// ws up to 8.17.0 ended the process for an upgrade with more headers than Node keeps.
func manyHeaders(t *testing.T, g *target) {
	headers := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "x%d:\r\n", i)
		}
		return b.String()
	}
	_, r := g.upgrade(t, "EIO=4&transport=websocket", headers(1500))
	require.Equal(t, http.StatusSwitchingProtocols, r.StatusCode)
	for _, query := range []string{"EIO=4&transport=websocket", "EIO=4&transport=polling"} {
		_, r = g.upgrade(t, query, headers(4000))
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, r.StatusCode)
	}
}

// Socket.IO up to 4.6.1 ended the process for an event called error.
func theEventError(t *testing.T, g *target) {
	p := g.inside()
	for _, payload := range []string{"", "null", `{"message":"x"}`} {
		require.Equal(t, "UNKNOWN_EVENT", p.refused("error", payload)["code"])
	}
	p.send(`42["error",new Error()]`)
	require.Contains(t, p.event("error")["message"], "malformed packet")
}

// cookie up to 0.6, which engine.io uses, wrote what it was given into the cookie's attributes.
func nothingIsWrittenIntoTheCookie(t *testing.T, g *target) {
	body := `{"username":"ann; Domain=evil.example; Max-Age=9"}`
	a := do(t, "POST", g.public+"/auth/login", body, "X-Forwarded-Proto", "https; Domain=evil.example", "X-Forwarded-Host", "x; Domain=evil.example")
	require.NotContains(t, a.header.Get("Set-Cookie"), "evil.example")
	a = do(t, "POST", g.public+"/auth/login", `{"username":"ann"}`, "X-Forwarded-Proto", "https; Domain=evil.example")
	require.Regexp(t, `^sid=[A-Za-z0-9_-]{43}; Path=/; (Max-Age=\d+; )?HttpOnly; SameSite=Lax$`, a.header.Get("Set-Cookie"))
	for _, name := range []string{"sid; Domain=evil.example", "sid=x", "a b", "<script>"} {
		_, errs, code := command(t, "serve", "--redis", g.redis.URL(), "--addr", "127.0.0.1:0", "--admin-addr=", "--session-cookie", name)
		require.Equal(t, cli.ExitUsage, code)
		require.Contains(t, errs, "--session-cookie")
	}
}

// python-socketio up to 5.13 unpickled what came over its message queue.
func objectsOnTheBus(t *testing.T, g *target) {
	const pickle = "\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94."
	p := g.inside()
	p.ok("chat:join", `{"channel":"global"}`)
	for _, channel := range []string{"socket.io#/#", "socket.io#/#chat:global#", "socket.io-request#/#", "socket.io-response#/#", "socketio", "rights:changes", "lock:releases"} {
		for _, message := range []string{pickle, "\xdf\xff\xff\xff\xff", "", "{"} {
			require.NoError(t, g.redis.Client().Publish(t.Context(), channel, message).Err())
		}
	}
	p.ok("chat:message", `{"channel":"global","text":"hi"}`)
	require.Equal(t, "hi", p.event("chat:message")["text"])
}

// socket.io-parser up to 4.2.5 waited for as many attachments as a packet announced.
func attachmentsAreCounted(t *testing.T, g *target) {
	const why = "1 to 10 attachments"
	endsAsMalformed(t, g, why, `4511-["a",{"_placeholder":true,"num":0}]`, "binary:abc")
	endsAsMalformed(t, g, why, `45999-["a"]`)
	for _, packet := range []string{`451000-["a"]`, `459999999999-["a"]`, `45-1-["a"]`, `451.5-["a"]`, `451e3-["a"]`} {
		endsAsMalformed(t, g, "no number of attachments", packet)
	}
}

// ws up to 8.20.0 could send bytes of its memory as the reason of a close.
func closeFramesHaveNothingElse(t *testing.T, g *target) {
	for reason, w := range map[string]*rawSocket{"": g.websocket(t), strings.Repeat("r", 123): g.insideRaw(t)} {
		w.write(rawFrame(fin|opClose, "\x03\xe8"+reason))
		code, rest := w.closed()
		require.Equal(t, 1000, code)
		require.Empty(t, rest)
	}
	w := g.insideRaw(t)
	w.write(rawFrame(fin|opText, "\xff"))
	code, rest := w.closed()
	require.Equal(t, 1007, code)
	require.Empty(t, rest)
}

// ws up to 8.20.1 kept an object for each tiny fragment. What fragments cost here is measured in
// gateway/engineio.
func tinyFragments(t *testing.T, g *target) {
	w := g.insideRaw(t)
	tiny := strings.Repeat(string(rawFrame(0, ""))+string(rawFrame(0, "x")), 30_000)
	w.write(rawFrame(opText, `421["session:ping","`), []byte(tiny), rawFrame(fin, `"]`))
	w.hears("431[")
	for _, b := range textFrame(`422["session:ping"]`) { // in as many pieces as it has bytes
		w.write([]byte{b})
	}
	w.hears("432[")
}

// python-engineio up to 4.13.1 began a thread for each pong.
func pongsThatNobodyAskedFor(t *testing.T, g *target) {
	before := runtime.NumGoroutine()
	for _, w := range []*rawSocket{g.websocket(t), g.insideRaw(t)} {
		w.write([]byte(strings.Repeat(string(textFrame("3")), 5000)))
		w.write(rawFrame(fin|opPing, "over"))
		for {
			op, payload := w.next()
			require.NotZero(t, op)
			if op == opPong {
				require.Equal(t, "over", string(payload))
				break
			}
		}
	}
	require.Less(t, runtime.NumGoroutine(), before+5000, "other tests run beside it; there were 10,000 pongs")
	require.Equal(t, 200, do(t, "POST", g.poll(t), strings.TrimSuffix(strings.Repeat("3\x1e", 2000), "\x1e")).status)
}

// python-socketio up to 5.16.1 kept attachments without a bound on their bytes.
func attachmentsAreBounded(t *testing.T, g *target) {
	head := `4510-["a"`
	for i := range 10 {
		head += fmt.Sprintf(`,{"_placeholder":true,"num":%d}`, i)
	}
	large := "binary:" + strings.Repeat("x", 400_000)
	endsAsMalformed(t, g, "That message is too large.", head+"]", large, large, large, large)
}

// engine.io up to 6.6.6 never answered a POST of this type.
func binaryPostsAreAnswered(t *testing.T, g *target) {
	for range 20 {
		url := g.poll(t)
		began := time.Now()
		a := do(t, "POST", url, "\x01\x02\x03", "Content-Type", "application/octet-stream")
		require.Equal(t, 400, a.status)
		require.Less(t, time.Since(began), 5*time.Second)
	}
}

// socket.io-parser up to 4.2.6 waited for ever after a packet of no attachments, and kept all that
// came.
func packetsOfNoAttachments(t *testing.T, g *target) {
	const why = "1 to 10 attachments"
	for _, packet := range []string{`450-["a"]`, `4500-["a"]`, `460-1["a"]`, `450-["a",{"_placeholder":true,"num":0}]`} {
		endsAsMalformed(t, g, why, packet, "binary:abc", "binary:abc")
	}
	endsAsMalformed(t, g, "an attachment of nothing", "binary:abc")
}

// ws up to 3.3.0 looked extensions up among the names that every object of JavaScript has.
func extensionsWithNamesOfJavaScript(t *testing.T, g *target) {
	for _, header := range []string{"constructor", "__proto__; toString=1", "permessage-deflate; constructor; hasOwnProperty=\"x\"", "permessage-deflate; server_max_window_bits=__proto__", ";,;=\"", "permessage-deflate; a=\"" + strings.Repeat(`\"`, 3000)} {
		_, r := g.upgrade(t, "EIO=4&transport=websocket", "Sec-WebSocket-Extensions: "+header+"\r\n")
		require.Equal(t, http.StatusSwitchingProtocols, r.StatusCode, header)
		require.Empty(t, r.Header.Get("Sec-WebSocket-Extensions"), header)
	}
}
