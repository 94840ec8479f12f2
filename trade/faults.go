package trade

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/fault"
	"github.com/aeturnis/realtime/internal/redisx"
	"github.com/aeturnis/realtime/trade/ledger"
)

// The faults of trades that a player may get, in addition to those of package fault. After each of
// them nothing has moved.
var (
	ErrSelf         = fault.New("TRADE_SELF", "You can not trade with yourself.")
	ErrEmpty        = ledger.ErrEmpty
	ErrTooManyLines = ledger.ErrTooManyLines
	ErrOverflow     = ledger.ErrOverflow
	ErrItems        = fault.New("INSUFFICIENT_ITEMS", "You do not have enough of that.")
	ErrGold         = fault.New("INSUFFICIENT_GOLD", "You do not have enough gold.")
	ErrUnknownItem  = fault.New("ITEM_UNKNOWN", "There is no such item.")
	ErrNoCharacter  = fault.New("NO_CHARACTER", "Choose a character first.")
	ErrStale        = fault.New("TRADE_STALE", "The offer has changed. Look again.")
	ErrOver         = fault.New("TRADE_OVER", "That trade has ended.")
	ErrOpen         = fault.New("TRADE_OPEN", "There is an open trade between you already.")
	ErrTooManyOpen  = fault.New("TRADE_TOO_MANY_OPEN", "That is too many open trades.").With("max", MaxOpen)
	ErrCharacter    = fault.New("TRADE_WRONG_CHARACTER", "That trade belongs to another of your characters.")
	errNoTrade      = fault.New("NOT_FOUND", "There is no such trade.")
	errNoPlayer     = fault.New("NOT_FOUND", "There is no such player.").With("field", "to")
)

// ErrRing is what Check returns for a redis.Ring, whose servers know nothing of each other.
var ErrRing = errors.New("trade: needs a single Redis server, a Sentinel set or a Cluster, not a Ring")

// errLockHeld is what a script without a lease answers when another holder has the lock.
var errLockHeld = errors.New("trade: the lock is held")

// wrapRedisError turns an error of Redis or of the lock into one that the gateway can answer with:
// a fault stays, a deadline stays (TIMEOUT), a Redis that does not answer becomes UNAVAILABLE, and
// a reply of Redis is wrapped (INTERNAL).
func wrapRedisError(err error, doing string) error {
	if err == nil {
		return nil
	}
	var f *fault.Fault
	switch {
	case errors.As(err, &f):
		if f.Code == fault.ErrUnavailable.Code && f.Detail("feature") != "trade" {
			return fault.Unavailable("trade", redisx.RetryAfter, err)
		}
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, ledger.ErrUnreadable):
		return fmt.Errorf("%s: %w", doing, err)
	}
	wrapped := fmt.Errorf("%s: %w", doing, err)
	if isServerReply(err) {
		return wrapped
	}
	return fault.Unavailable("trade", redisx.RetryAfter, wrapped)
}

// isServerReply tells whether a server answered, and its answer is about the command and not that
// it cannot serve now.
func isServerReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && redisx.UnavailableReason(err) == ""
}

// refusalError returns the fault for an answer of a script that is not "ok", or an error when the
// data in Redis is corrupt. wanted is what the caller asked for.
func refusalError(answer []string, wanted Goods) error {
	field := ""
	if len(answer) > 1 {
		field = answer[1]
	}
	item := strings.TrimPrefix(field, "item:")
	switch answer[0] {
	case "unknown":
		return ErrUnknownItem.With("itemId", item)
	case "short":
		if field == ledger.GoldField {
			return ErrGold.With("have", parseInteger(answer[2])).With("need", wanted.Gold)
		}
		return ErrItems.With("itemId", item).With("have", parseInteger(answer[2])).With("need", wanted.Quantity(item))
	case "overflow":
		if field == ledger.GoldField {
			return ErrOverflow.With("gold", true)
		}
		return ErrOverflow.With("itemId", item)
	case "held":
		return errLockHeld
	case "stale":
		return fault.ErrLocked.Because(fmt.Errorf("fence %s has committed since", field))
	case "gone":
		return errNoTrade
	case "over":
		if Status(field) == Settling {
			return fault.ErrLocked
		}
		return ErrOver.With("status", field)
	case "due":
		return ErrOver.With("status", string(Expired))
	case "version":
		return ErrStale.With("version", parseInteger(field))
	case "who":
		return errOtherCharacter
	case "late", "alone":
		return fault.ErrLocked.Because(fmt.Errorf("overtaken: %s", answer[0]))
	case "corrupt":
		return fmt.Errorf("%s: field %q holds no amount: %s", answer[1], answer[2], answer[3])
	}
	return fmt.Errorf("script answered %q", answer)
}

func isMissingKey(err error) bool { return errors.Is(err, redis.Nil) }

const maxKeyLength = 128 // characters of an idempotency key

// parseInteger reads what a script formatted; what is no number counts as 0.
func parseInteger(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
