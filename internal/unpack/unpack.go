// Package unpack reads archives whatever they are compressed with.
package unpack

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Reader returns what is in a plain, gzip, bzip2 or zstd stream: its first
// bytes say which. free must be called in the end, also after an error of
// reading; not after one of Reader.
func Reader(in *bufio.Reader) (_ io.Reader, free func(), err error) {
	head, err := in.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	nothing := func() {}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(in)
		return r, nothing, err
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(in), nothing, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		r, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(1<<31-1))
		if err != nil {
			return nil, nil, err
		}
		return r, r.Close, nil
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return nil, nil, errors.New("xz is not supported; use gzip, bzip2 or zstd")
	}
	return in, nothing, nil
}
