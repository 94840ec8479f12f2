package ledger_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/trade/ledger"
)

// What a script wrote is read as it is, and nothing else counts as an amount.
func TestParseInventory(t *testing.T) {
	t.Parallel()
	goods, err := ledger.ParseInventory(map[string]string{
		"gold": "7", "item:pear": "2", "item:apple": "999999999999999", "item:none": "0",
		"hold:T": "gold 3", "done:T": "1",
	})
	require.NoError(t, err)
	require.Equal(t, ledger.Goods{
		Items: []ledger.Line{{ItemID: "apple", Qty: 999999999999999}, {ItemID: "pear", Qty: 2}}, Gold: 7,
	}, goods)
	for _, text := range []string{"", "-1", "+1", "1e3", "1.0", " 1", "1_000", "0x1", "1000000000000000"} {
		_, err := ledger.ParseInventory(map[string]string{"gold": text})
		require.ErrorContains(t, err, `field "gold"`, text)
	}
}

// The ref of a keyed mint never changes: it makes a repeat a repeat, for ever.
func TestMintRef(t *testing.T) {
	t.Parallel()
	require.Equal(t, ledger.MintRef("combat:1:anna"), ledger.MintRef("combat:1:anna"))
	require.NotEqual(t, ledger.MintRef("combat:1:anna"), ledger.MintRef("combat:1:bobo"))
	require.Regexp(t, `^M[0-9A-V]{25}$`, ledger.MintRef("combat:1:anna"))
}
