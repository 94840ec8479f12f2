package socketio

// A ClusterState is how well this node and the others hear each other.
type ClusterState struct {
	// Local is whether what is cast here may reach the members on this node only, or theirs not
	// these: Redis lets nobody hear, or did not take what was to be published.
	Local bool
	// Unpublished is how many messages for the other nodes were dropped since the last state.
	Unpublished int64
}

// beatsToRecover is how many beats without a loss end a Local state.
const beatsToRecover = 2

// A stateWatcher tells when the state changes. It belongs to the goroutine of beat.
type stateWatcher struct {
	onChange        func(ClusterState) // may be nil
	isLocal       bool
	beatsWithoutLoss       int   // beats without a loss
	lastUnpublished, reportedUnpublished int64 // unpublished: at the last beat, at the last state
}

// observeBeat is called at each beat.
func (w *stateWatcher) observeBeat(connected bool, unpublished int64) {
	lost := !connected || unpublished > w.lastUnpublished
	w.lastUnpublished = unpublished
	if w.beatsWithoutLoss++; lost {
		w.beatsWithoutLoss = 0
	}
	if w.isLocal == lost || w.isLocal && w.beatsWithoutLoss < beatsToRecover {
		return
	}
	w.isLocal = lost
	if w.onChange != nil {
		w.onChange(ClusterState{lost, unpublished - w.reportedUnpublished})
	}
	w.reportedUnpublished = unpublished
}
