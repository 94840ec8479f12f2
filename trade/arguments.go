package trade

import "strconv"

// arguments are those of a script, in one allocation where they are few: a string that is put
// into an interface takes one by itself.
type arguments struct {
	list []any
	few  [16]any
	text [12]string
	used int
}

// say adds arguments.
func (a *arguments) say(words ...string) {
	if a.list == nil {
		a.list = a.few[:0]
	}
	for _, w := range words {
		if a.used == len(a.text) {
			a.list = append(a.list, w)
			continue
		}
		a.text[a.used] = w
		a.list = append(a.list, &a.text[a.used])
		a.used++
	}
}

// goods adds goods: inventory field, quantity, and so on.
func (a *arguments) goods(g Goods) {
	for _, l := range g.Items {
		a.say("item:"+l.ItemID, strconv.FormatInt(l.Qty, 10))
	}
	if g.Gold > 0 {
		a.say(goldField, strconv.FormatInt(g.Gold, 10))
	}
}
