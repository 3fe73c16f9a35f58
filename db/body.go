package db

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// maxBody bounds in bytes what a compressed body can unfold to; more than that
// was not written by this program.
const maxBody = 1 << 30

// window is how far back, in bytes, a compressor looks for what it has seen. What
// it needs for that stays in memory.
const window = 4 << 20

// zstdMagic is how a zstd frame begins (RFC 8878, 3.1.1); JSON never does.
var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// A bodyCoder compresses and opens bodies. It is safe for concurrent use.
type bodyCoder struct {
	quick, small *zstd.Encoder
	open         *zstd.Decoder
}

func newBodyCoder() (*bodyCoder, error) {
	quick, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithWindowSize(window))
	if err != nil {
		return nil, fmt.Errorf("make compressor: %w", err)
	}
	small, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	if err != nil {
		return nil, fmt.Errorf("make compressor: %w", err)
	}
	open, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxBody))
	if err != nil {
		return nil, fmt.Errorf("make decompressor: %w", err)
	}
	return &bodyCoder{quick: quick, small: small, open: open}, nil
}

// close ends the decoder's goroutines.
func (c *bodyCoder) close() {
	if c != nil {
		c.open.Close()
	}
}

// pack compresses a frame's body; one that would not become smaller, and one
// that is missing, stays as it is.
func (c *bodyCoder) pack(body []byte) []byte {
	if packed := c.quick.EncodeAll(body, nil); len(packed) < len(body) {
		return packed
	}
	return body
}

// unpack opens a body that may be compressed.
func (c *bodyCoder) unpack(body []byte) ([]byte, error) {
	if !bytes.HasPrefix(body, zstdMagic) {
		return body, nil
	}
	opened, err := c.open.DecodeAll(body, nil)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return opened, nil
}
