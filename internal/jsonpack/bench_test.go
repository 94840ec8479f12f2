package jsonpack

import "testing"

const chatMessage = `{"id":"01HZX3J5Q7","channel":"zone:1","from":{"userId":"ann","username":"Ann","characterId":"ann"},"text":"hello, all of you","at":1767225600000}`

const tradeCompleted = `{"tradeId":"01M84ASS6PATDPGAKXNPCQGAAT","status":"completed","version":1,"parties":[` +
	`{"userId":"lt-hbgusv-2","characterId":"lt-hbgusv-2","offer":{"items":[{"itemId":"lt-hbgusv-coin","qty":1}],"gold":0},"accepted":true},` +
	`{"userId":"lt-hbgusv-3","characterId":"lt-hbgusv-3","offer":{"items":[],"gold":0},"accepted":true}],"createdAt":1795441812695,"expiresAt":1795442112695}`

// BenchmarkPack packs the JSON of two events of a game.
func BenchmarkPack(b *testing.B) {
	for name, body := range map[string]string{"chat": chatMessage, "trade": tradeCompleted} {
		b.Run(name, func(b *testing.B) {
			list := []byte(`["` + name + `:event",` + body + `]`)
			b.SetBytes(int64(len(list)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				var ok bool
				if dst, ok = Pack(dst[:0], list, nil, maxDepth); !ok {
					b.Fatal("refused")
				}
			}
		})
	}
}
