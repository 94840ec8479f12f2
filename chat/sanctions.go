package chat

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/aeturnis/realtime/keys"
)

// SanctionsOf returns the mutes and bans of a user that are in force, those that hold longest
// first. What cannot be read is left out. It reads all sanctions, so it is for operators.
func SanctionsOf(ctx context.Context, rdb redis.UniversalClient, userID string) ([]Sanction, error) {
	all, err := rdb.HGetAll(ctx, keys.ChatRules).Result()
	if err != nil {
		return nil, fmt.Errorf("chat: read the rules: %w", err)
	}
	sanctions, now := []Sanction{}, time.Now().UnixMilli()
	for field, text := range all {
		words := strings.SplitN(field, " ", 3)
		var s Sanction
		if len(words) == 3 && words[2] == userID && json.Unmarshal([]byte(text), &s) == nil && s.Until > now {
			sanctions = append(sanctions, s)
		}
	}
	slices.SortFunc(sanctions, func(a, b Sanction) int {
		return cmp.Or(cmp.Compare(b.Until, a.Until), strings.Compare(a.Channel, b.Channel))
	})
	return sanctions, nil
}
