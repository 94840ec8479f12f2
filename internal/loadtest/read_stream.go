package loadtest

// readStream reads with a buffer that it keeps while it waits. It serves TLS, and systems on which
// readAll knows no better way.
func (c *client) readStream() {
	sc := getScratch()
	defer sc.release()
	small := make([]byte, 4<<10)
	for c.endErr == nil {
		n, err := c.conn.Read(small)
		if err != nil {
			return
		}
		c.handleBytes(sc, small[:n], c.run.now())
	}
}
