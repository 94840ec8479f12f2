package socketio

// A ClusterState says whether this node and the others hear each other.
type ClusterState struct {
	// Local is true when a cast may reach only the members on its own node, because this node receives
	// nothing from the others, or because Redis did not take what it published.
	Local bool
	// Unpublished is how many messages for the other nodes were dropped since the state before.
	Unpublished int64
}

// beatsToRecover is how many heartbeats without a loss end a Local state.
const beatsToRecover = 2

// A stateWatcher reports changes of the state. It belongs to the goroutine of runHeartbeat.
type stateWatcher struct {
	onChange            func(ClusterState) // may be nil
	isLocal             bool
	beatsWithoutLoss    int
	lastUnpublished     int64 // at the last heartbeat
	reportedUnpublished int64 // at the last change
}

// observeBeat is called at each heartbeat.
func (w *stateWatcher) observeBeat(isConnected bool, unpublished int64) {
	hasLoss := !isConnected || unpublished > w.lastUnpublished
	w.lastUnpublished = unpublished
	if w.beatsWithoutLoss++; hasLoss {
		w.beatsWithoutLoss = 0
	}
	if w.isLocal == hasLoss || w.isLocal && w.beatsWithoutLoss < beatsToRecover {
		return
	}
	w.isLocal = hasLoss
	if w.onChange != nil {
		w.onChange(ClusterState{hasLoss, unpublished - w.reportedUnpublished})
	}
	w.reportedUnpublished = unpublished
}
