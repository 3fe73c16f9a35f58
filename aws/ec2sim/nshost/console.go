//go:build linux

package nshost

import "sync"

// consoleSize is how much of a console is kept, as on EC2.
const consoleSize = 64 << 10

// A console keeps the last that was written to it.
type console struct {
	mu  sync.Mutex
	buf []byte
}

// Write never fails.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = append(c.buf, b...)
	if extra := len(c.buf) - consoleSize; extra > 0 {
		c.buf = append(c.buf[:0], c.buf[extra:]...)
	}
	return len(b), nil
}

func (c *console) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.buf...)
}
