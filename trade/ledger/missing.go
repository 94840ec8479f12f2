package ledger

import (
	"context"
	"fmt"

	"github.com/aeturnis/realtime/keys"
)

// Missing returns the entries of other that this ledger does not have, oldest first: after Redis
// moved to another server, what only the former one acknowledged. It keeps the references of all
// entries of this ledger in memory. An entry whose body cannot be read is returned without moves.
func (l *Ledger) Missing(ctx context.Context, other *Ledger) ([]Entry, error) {
	here := make(map[string]bool)
	err := l.visitEntries(ctx, func(e Entry) { here[e.Ref] = true })
	if err != nil {
		return nil, err
	}
	missing := []Entry{}
	err = other.visitEntries(ctx, func(e Entry) {
		if !here[e.Ref] {
			missing = append(missing, e)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("the other server: %w", err)
	}
	return missing, nil
}

// visitEntries calls visit with each entry, oldest first, also with those that cannot be read.
func (l *Ledger) visitEntries(ctx context.Context, visit func(Entry)) error {
	for start := "-"; ; {
		messages, err := l.rdb.XRangeN(ctx, keys.TradeLedger, start, "+", pageSize).Result()
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		for _, m := range messages {
			e, _ := parseEntry(m) // its reference is there all the same
			visit(e)
			start = "(" + m.ID
		}
		if len(messages) < pageSize {
			return nil
		}
	}
}
