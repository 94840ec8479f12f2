package event

// Ordered is what the payload of a cast may implement when several nodes cast to the same
// room: whoever hears a stream hears it by places, whichever node cast what.
type Ordered interface {
	// Order names the stream, and this payload's place in it. The first place is 1, and
	// none is left out.
	Order() (stream string, place int64)
}
