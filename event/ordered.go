package event

// Ordered is what the payload of a cast may implement when several nodes cast to the same room. The
// members of the room then receive the casts of a stream in the order of their places, whichever
// node sent them.
type Ordered interface {
	// Order returns the name of the stream, and the place of this payload in it. The first place
	// is 1, and every place is used once.
	Order() (stream string, place int64)
}
