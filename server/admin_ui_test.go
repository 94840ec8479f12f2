package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/aeturnis/realtime/gateway"
)

// An operator's own connection must not enter a room to which things for one player are cast.
func TestReservedRooms(t *testing.T) {
	t.Parallel()
	for room, isReserved := range map[string]bool{
		"user:ann": true, "user:": true, "kXwRN97895QHX4Ltwnb1": true, "Bk7fT0CUglY-GUUq_tFL": true,
		"chat:global": false, "vip": false, "kXwRN97895QHX4Ltwnb": false, "kXwRN97895QHX4Ltwnb12": false, "": false,
	} {
		require.Equal(t, isReserved, gateway.IsReservedRoom(room), room)
	}
}
