package main

// ballast is counted as heap, and no memory stands behind it, for nobody writes to it: the collector waits until the heap has
// grown by as much. Without it a node with few players, whose live heap is some MB, would collect many times a second.
var ballast []byte

const ballastBytes = 32 << 20

// takeBallast is for serve: other commands are over before a collection counts.
func takeBallast() { ballast = make([]byte, ballastBytes) }
