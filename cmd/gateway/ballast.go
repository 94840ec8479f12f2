package main

// ballast is counted as heap, and no memory stands behind it, for nobody writes to it: the collector waits until the heap has
// grown by as much. Without it a node with few players, whose live heap is some MB, would collect many times a second.
// The caller keeps it alive while it serves.
func ballast() []byte { return make([]byte, 32<<20) }
