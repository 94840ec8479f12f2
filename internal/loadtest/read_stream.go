package loadtest

// readStream reads with a buffer that it holds while it waits: for TLS, and where there is no better way.
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
