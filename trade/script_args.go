package trade

import (
	"strconv"

	"github.com/aeturnis/realtime/trade/ledger"
)

// scriptArgs are the arguments of a script. If they are few, they take one allocation together:
// putting each string into an interface would take one for each.
type scriptArgs struct {
	list  []any
	first [16]any
	text  [12]string
	used  int // of text
}

// appendGoods adds inventory field, quantity, and so on.
func (a *scriptArgs) appendGoods(g Goods) {
	for _, l := range g.Items {
		a.appendText("item:"+l.ItemID, strconv.FormatInt(l.Qty, 10))
	}
	if g.Gold > 0 {
		a.appendText(ledger.GoldField, strconv.FormatInt(g.Gold, 10))
	}
}

func (a *scriptArgs) appendText(texts ...string) {
	if a.list == nil {
		a.list = a.first[:0]
	}
	for _, t := range texts {
		if a.used == len(a.text) {
			a.list = append(a.list, t)
			continue
		}
		a.text[a.used] = t
		a.list = append(a.list, &a.text[a.used])
		a.used++
	}
}
