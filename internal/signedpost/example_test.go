package signedpost_test

import (
	"fmt"
	"time"

	"github.com/aeturnis/realtime/internal/signedpost"
)

func Example() {
	secret, body, now := []byte("a secret of the quests"), []byte(`{"event":"quest:accept"}`), time.Unix(1_700_000_000, 0)
	header := signedpost.Sign(now, body, secret)
	fmt.Println(header[:16])
	fmt.Println(signedpost.Verify(header, now.Add(time.Minute), body, secret))
	fmt.Println(signedpost.Verify(header, now.Add(time.Hour), body, secret))
	// Output:
	// t=1700000000,v1=
	// <nil>
	// signedpost: the signature is more than 5 minutes old, or from the future
}
