package socketio

// A ClusterState is how well this node and the others hear each other.
type ClusterState struct {
	// Local is whether what is cast here may reach the members on this node only, or theirs not
	// these: Redis lets nobody hear, or did not take what was to be published.
	Local bool
	// Unpublished is how many messages for the other nodes were dropped since the last state.
	Unpublished int64
}

// calm is how many beats without a loss end a Local state.
const calm = 2

// A watchman tells when the state changes. It belongs to the goroutine of beat.
type watchman struct {
	tell        func(ClusterState) // may be nil
	local       bool
	quiet       int   // beats without a loss
	seen, known int64 // unpublished: at the last beat, at the last state
}

// look is called at each beat.
func (w *watchman) look(connected bool, unpublished int64) {
	lost := !connected || unpublished > w.seen
	w.seen = unpublished
	if w.quiet++; lost {
		w.quiet = 0
	}
	if w.local == lost || w.local && w.quiet < calm {
		return
	}
	w.local = lost
	if w.tell != nil {
		w.tell(ClusterState{lost, unpublished - w.known})
	}
	w.known = unpublished
}
