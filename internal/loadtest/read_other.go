//go:build !unix

package loadtest

func (c *client) readAll() { c.readStream() }
