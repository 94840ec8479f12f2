package event

// Ordered is what the payload of a cast may implement when several nodes cast to the same room. The
// members of the room then receive the casts of a stream in the order of their numbers, whichever
// node sent them.
type Ordered interface {
	// Order returns the name of the stream, and the number of this payload in it. Numbers begin at 1
	// and have no gaps, and each is used once. A missing number delays the casts behind it for a
	// moment, and a cast that comes too late is dropped.
	Order() (stream string, number int64)
}
