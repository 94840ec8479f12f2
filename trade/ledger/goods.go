package ledger

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aeturnis/realtime/event"
	"github.com/aeturnis/realtime/fault"
)

const (
	// MaxAmount is the largest amount of one item, or of gold, that a character may hold or a line may
	// move.
	MaxAmount int64 = 1e12
	// MaxLines is the most kinds of items that one side may give.
	MaxLines = 20
	// GoldField is the field of an inventory that holds a character's gold.
	GoldField = "gold"

	itemPrefix      = "item:" // of the fields of an inventory that hold items
	maxItemIDLength = 64      // characters
)

// Faults that Goods.Check returns, besides INVALID.
var (
	ErrEmpty        = fault.New("TRADE_EMPTY", "There is nothing in that trade.")
	ErrTooManyLines = fault.New("TRADE_TOO_MANY_LINES", "That is too much for one trade.").With("max", MaxLines)
	ErrOverflow     = fault.New("TRADE_OVERFLOW", "That is more than a character can hold.").With("max", MaxAmount)
)

// A Line is a quantity of one item.
type Line struct {
	ItemID string `json:"itemId"`
	Qty    int64  `json:"qty"` // 1 to 1,000,000,000,000
}

// Goods are what one side gives, or what a character has: items, each named once, and gold.
type Goods struct {
	Items []Line `json:"items"`
	Gold  int64  `json:"gold"` // 0 to 1,000,000,000,000
}

// IsEmpty tells whether there are neither items nor gold.
func (g Goods) IsEmpty() bool { return len(g.Items) == 0 && g.Gold == 0 }

// Quantity returns how much of an item is among the goods.
func (g Goods) Quantity(itemID string) int64 {
	for _, l := range g.Items {
		if l.ItemID == itemID {
			return l.Qty
		}
	}
	return 0
}

// Sorted returns the goods in the one order in which they are written down: by item id. Its Items
// are never nil.
func (g Goods) Sorted() Goods {
	byID := func(a, b Line) int { return strings.Compare(a.ItemID, b.ItemID) }
	if g.Items != nil && slices.IsSortedFunc(g.Items, byID) {
		return g
	}
	items := append([]Line{}, g.Items...)
	slices.SortFunc(items, byID)
	return Goods{Items: items, Gold: g.Gold}
}

// Check validates goods that a caller wants to move or mint. Errors: TRADE_EMPTY,
// TRADE_TOO_MANY_LINES, TRADE_OVERFLOW, and INVALID with a field. path is the beginning of that
// field: the path of the goods in the payload with a dot at its end, or "".
func (g Goods) Check(path string) error {
	if g.IsEmpty() {
		return ErrEmpty
	}
	if len(g.Items) > MaxLines {
		return ErrTooManyLines
	}
	for i, l := range g.Items {
		fieldPath := func(field string) string { return path + "items[" + strconv.Itoa(i) + "]." + field }
		isSameItem := func(before Line) bool { return before.ItemID == l.ItemID }
		switch {
		case l.ItemID == "":
			return fault.Invalid(fieldPath("itemId"), "required")
		case !isItemID(l.ItemID):
			return fault.Invalid(fieldPath("itemId"), "at most 64 of A-Z a-z 0-9 _ . : -")
		case slices.ContainsFunc(g.Items[:i], isSameItem):
			return fault.Invalid(fieldPath("itemId"), "given twice")
		case l.Qty < 1:
			return fault.Invalid(fieldPath("qty"), "at least 1")
		case l.Qty > MaxAmount:
			return ErrOverflow.With("itemId", l.ItemID)
		}
	}
	switch {
	case g.Gold < 0:
		return fault.Invalid(path+"gold", "at least 0")
	case g.Gold > MaxAmount:
		return ErrOverflow.With("gold", true)
	}
	return nil
}

// isItemID tells whether an item may have that id.
func isItemID(id string) bool {
	for i := range len(id) {
		c := id[i]
		isLetter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !isLetter && (c < '0' || c > '9') && !strings.ContainsRune("_.:-", rune(c)) {
			return false
		}
	}
	return id != "" && len(id) <= maxItemIDLength
}

// InventoryFields returns the goods as arguments of a script: inventory field, quantity, and so on.
func (g Goods) InventoryFields() []any {
	args := make([]any, 0, 2*len(g.Items)+2)
	for _, l := range g.Items {
		args = append(args, itemPrefix+l.ItemID, l.Qty)
	}
	if g.Gold > 0 {
		args = append(args, GoldField, g.Gold)
	}
	return args
}

// AppendMembers appends the goods as members of a JSON object, without its braces: in an entry of
// the ledger they stand beside others.
func (g Goods) AppendMembers(dst []byte) []byte {
	dst = append(dst, `"items":[`...)
	for i, l := range g.Items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = event.AppendQuote(append(dst, `{"itemId":`...), l.ItemID)
		dst = append(strconv.AppendInt(append(dst, `,"qty":`...), l.Qty, 10), '}')
	}
	return strconv.AppendInt(append(dst, `],"gold":`...), g.Gold, 10)
}

// ParseInventory reads the goods among the fields of an inventory. Its other fields, such as those
// of goods in escrow, are skipped.
func ParseInventory(fields map[string]string) (Goods, error) {
	g := Goods{Items: make([]Line, 0, len(fields))}
	for field, value := range fields {
		item, isItem := strings.CutPrefix(field, itemPrefix)
		if !isItem && field != GoldField {
			continue
		}
		amount, err := parseAmount(value)
		switch {
		case err != nil:
			return Goods{}, fmt.Errorf("field %q: %w", field, err)
		case !isItem:
			g.Gold = amount
		case amount > 0:
			g.Items = append(g.Items, Line{ItemID: item, Qty: amount})
		}
	}
	return g.Sorted(), nil
}

// parseAmount reads an amount as ledger.lua does.
func parseAmount(text string) (int64, error) {
	if strings.HasPrefix(text, "-") {
		return 0, fmt.Errorf("%q is negative", text)
	}
	if len(text) > 15 {
		return 0, fmt.Errorf("%q is no amount", text)
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is no amount", text)
	}
	return int64(n), nil //nolint:gosec // at most 15 digits
}
