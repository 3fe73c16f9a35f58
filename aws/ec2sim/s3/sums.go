package s3

import (
	"bufio"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/loads/loads/aws/ec2sim/wire"
)

// algorithms make the checksums that S3 knows, by their names in headers.
var algorithms = map[string]func() hash.Hash{
	"crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"crc32c":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	"crc64nvme": func() hash.Hash { return crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5)) },
	"sha1":      sha1.New,
	"sha256":    sha256.New,
}

const sumHeader = "X-Amz-Checksum-"

// sums are several checksums of the same bytes.
type sums map[string]hash.Hash

func newSums(names []string) sums {
	s := sums{}
	for _, name := range names {
		s[name] = algorithms[name]()
	}
	return s
}

// Write adds bytes to all.
func (s sums) Write(p []byte) (int, error) {
	for _, h := range s {
		h.Write(p)
	}
	return len(p), nil
}

func (s sums) values() map[string]string {
	values := map[string]string{}
	for name, h := range s {
		values[name] = base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	return values
}

// asked are the algorithms of which a request gives or names a checksum.
func asked(r *http.Request, more ...string) []string {
	named := strings.ToLower(r.Header.Get("X-Amz-Sdk-Checksum-Algorithm") + " " + r.Header.Get("X-Amz-Trailer") + " " + strings.Join(more, " "))
	var names []string
	for name := range algorithms {
		inTrailer := strings.Contains(" "+strings.ReplaceAll(named, strings.ToLower(sumHeader), "")+" ", " "+name+" ")
		if r.Header.Get(sumHeader+name) != "" || inTrailer {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return []string{"crc64nvme"} // which S3 itself adds
	}
	return names
}

// A checkedBody is the body of a request, without what is put around its parts,
// and with what the request says it should be.
type checkedBody struct {
	reader   io.Reader
	md5      hash.Hash
	sha256   hash.Hash
	trailers http.Header
}

// readBody unwraps a request's body.
func readBody(r *http.Request) *checkedBody {
	b := &checkedBody{md5: md5.New(), sha256: sha256.New(), trailers: http.Header{}}
	var body io.Reader = r.Body
	if strings.HasPrefix(r.Header.Get(wire.HashHeader), "STREAMING-") {
		body = &chunked{in: bufio.NewReader(r.Body), trailers: b.trailers}
	}
	b.reader = io.TeeReader(body, io.MultiWriter(b.md5, b.sha256))
	return b
}

// check compares what came with what the request said would come.
func (b *checkedBody) check(r *http.Request, have map[string]string) *wire.Error {
	if want := r.Header.Get("Content-Md5"); want != "" && want != base64.StdEncoding.EncodeToString(b.md5.Sum(nil)) {
		return wire.Errorf("BadDigest", "The Content-MD5 you specified did not match what we received.")
	}
	want := r.Header.Get(wire.HashHeader)
	if len(want) == 2*sha256.Size && want != hex.EncodeToString(b.sha256.Sum(nil)) {
		return wire.Errorf("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	for name, sum := range have {
		want := r.Header.Get(sumHeader + name)
		if want == "" {
			want = b.trailers.Get(sumHeader + name)
		}
		if want != "" && want != sum {
			return wire.Errorf("BadDigest", "The %s you specified did not match the calculated checksum.", strings.ToUpper(name))
		}
	}
	return nil
}

// chunked reads a body in the form aws-chunked: pieces, each after a line with
// its length, and headers after the last. What signs a piece is not looked at.
type chunked struct {
	in       *bufio.Reader
	left     int64
	begun    bool
	over     bool
	trailers http.Header
}

var errChunks = errors.New("the body is not well-formed aws-chunked")

// Read reads the bytes without what is around them.
func (c *chunked) Read(p []byte) (int, error) {
	for c.left == 0 {
		if c.over {
			return 0, io.EOF
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n, err := c.in.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next reads the line before a piece, and the headers after the last one.
func (c *chunked) next() error {
	if c.begun {
		if line, err := c.in.ReadString('\n'); err != nil || strings.TrimSpace(line) != "" {
			return errChunks
		}
	}
	c.begun = true
	line, err := c.in.ReadString('\n')
	if err != nil {
		return errChunks
	}
	size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
	if c.left, err = strconv.ParseInt(size, 16, 64); err != nil || c.left < 0 {
		return errChunks
	}
	if c.left > 0 {
		return nil
	}
	c.over = true
	headers, err := textproto.NewReader(c.in).ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %w", errChunks, err)
	}
	for name, values := range headers {
		c.trailers[name] = values
	}
	return nil
}
