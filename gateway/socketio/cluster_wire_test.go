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
