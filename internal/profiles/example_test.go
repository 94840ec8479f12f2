package profiles_test

import (
	"context"
	"fmt"

	"github.com/aeturnis/realtime/internal/profiles"
)

func Example() {
	world := profiles.NewDemo()
	hero, err := world.Character(context.Background(), "ann-alt")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(hero.Name, "belongs to", hero.OwnerID)
	_, err = world.User(context.Background(), profiles.NobodyPrefix)
	fmt.Println(err)
	// Output:
	// ann-alt belongs to ann
	// profile: NOT_FOUND: There is no such thing.
}
