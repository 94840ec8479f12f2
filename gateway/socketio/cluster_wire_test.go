package socketio

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/aeturnis/realtime/internal/jsonpack"
)

func FuzzBroadcast(f *testing.F) {
	good, _ := appendPacket(jsonpack.AppendText([]byte{0x93}, "someone"), []byte(`["e",{"k":[1,true]}]`), nil, "/", busDepth)
	f.Add(target{rooms: []socket.Room{"red"}, except: []socket.Room{"blue"}, volatile: true}.appendTo(good))
	f.Add([]byte("\x93\xa1u\x83\xa4type\x02\xa4data\x92\xa1e\xc4\x01x\xa3nsp\xa1/\x80"))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, ok := readBroadcast(in)
		if !ok {
			return
		}
		fr, ok := m.frameForMembers("/", 1<<16)
		if !ok {
			return
		}
		defer fr.releaseFrames()
		text := fr.text.Buffer()[13:] // behind the frame's header and the message's type
		list := text[bytes.IndexByte(text, '['):]
		require.True(t, json.Valid(list), "%q", text)
		require.True(t, len(fr.binary) == 0 || arePlaceholdersValid(list, len(fr.binary)), "%q", text)
		require.Equal(t, len(fr.binary) > 0, text[0] == typeBinaryEvent)
	})
}

// A node that knows nothing of traces, of ours or of Node, reads a traced broadcast as any other:
// it differs in one flag. What is not traced has the bytes that it had before.
func TestATracedBroadcast(t *testing.T) {
	t.Parallel()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	broadcast := func(of target) []byte {
		b, ok := appendPacket(jsonpack.AppendText([]byte{broadcastHead}, "someone"), []byte(`["e",1]`), nil, "", busDepth)
		require.True(t, ok)
		return of.appendTo(b)
	}
	for name, plain := range map[string]target{
		"a room":     {rooms: []socket.Room{"red"}},
		"all but":    {except: []socket.Room{"blue"}},
		"volatile":   {rooms: []socket.Room{"red"}, volatile: true},
		"in a place": {rooms: []socket.Room{"red"}, position: streamPosition{"s", 7}},
	} {
		traced := plain
		traced.traceparent = parent
		m, ok := readBroadcast(broadcast(traced))
		require.True(t, ok, name)
		require.Equal(t, parent, m.traceparent, name)
		require.Equal(t, "e", m.eventName())
		m.traceparent = ""
		old, ok := readBroadcast(broadcast(plain))
		require.True(t, ok, name)
		require.Empty(t, old.traceparent)
		require.Equal(t, old.target, m.target, name)
		require.Equal(t, old.data, m.data, name)
	}
	require.NotContains(t, string(broadcast(target{rooms: []socket.Room{"red"}})), "flags")
	require.Contains(t, string(broadcast(target{volatile: true})), "\xa5flags\x81\xa8volatile\xc3")
	long := target{traceparent: parent + "-and more"}
	m, ok := readBroadcast(broadcast(long))
	require.True(t, ok)
	require.Empty(t, m.traceparent, "anybody may have published it")
}
