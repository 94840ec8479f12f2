package combat

import (
	"context"
	_ "embed"
	"time"

	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/keys"
)

// This file limits what two characters can earn from each other, so that a second account is no
// mine of gold.

var (
	//go:embed claim_payment.lua
	claimPaymentLua string

	claimPaymentScript = redisx.NewScript(claimPaymentLua)
)

// paymentsTTL is how long the paid fights of a day are remembered. It is longer than an ended fight
// can wait to be settled, so that a settlement which is repeated finds the decision of the first.
const paymentsTTL = 24*time.Hour + 2*unsettledTTL

// claimPayment reports whether the victory of a fight between two characters is paid: the first
// most of one day are, a day from 00:00 UTC. The answer for a fight never changes.
func (st *store) claimPayment(ctx context.Context, a, b, id string, at time.Time, most int) (isPaid bool, err error) {
	key := keys.CombatPaid(a, b, at.UTC().Format(time.DateOnly))
	n, err := claimPaymentScript.Do(ctx, st.rdb, []string{key}, id, most, paymentsTTL.Milliseconds()).Int()
	return n == 1, wrapRedisError(ctx, "claim the payment of "+id, err)
}
