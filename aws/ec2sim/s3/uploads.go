package s3

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/loads/loads/aws/ec2sim/wire"
)

// minPart is the smallest size of a part that isn't the last.
const minPart = 5 << 20

// upload finds the upload that a request names; the store's lock is held.
func (q *request) upload() *upload {
	b := q.store.buckets[q.bucket]
	if b == nil {
		return nil
	}
	u := b.uploads[q.query.Get("uploadId")]
	if u == nil || u.key != q.key {
		return nil
	}
	return u
}

func createUpload(q *request) *wire.Error {
	u := &upload{
		id: strings.ReplaceAll(uuid.NewString(), "-", ""), key: q.key, started: time.Now(),
		algorithm: strings.ToLower(q.Header.Get("X-Amz-Checksum-Algorithm")), kind: q.Header.Get("X-Amz-Checksum-Type"),
		header: ownHeaders(q.Request), parts: map[int]*object{},
	}
	if u.algorithm != "" && algorithms[u.algorithm] == nil {
		return wire.Errorf("InvalidRequest", "Checksum algorithm provided is unsupported: %s.", u.algorithm)
	}
	switch {
	case u.algorithm == "" || u.algorithm == "crc64nvme":
		u.kind = "FULL_OBJECT"
	case u.kind == "":
		u.kind = "COMPOSITE"
	}
	q.store.mu.Lock()
	b := q.store.buckets[q.bucket]
	if b != nil {
		b.uploads[u.id] = u
		q.store.made(kindUpload)
	}
	q.store.mu.Unlock()
	if b == nil {
		return errNoBucket()
	}
	if u.algorithm != "" {
		q.w.Header().Set("X-Amz-Checksum-Algorithm", strings.ToUpper(u.algorithm))
		q.w.Header().Set("X-Amz-Checksum-Type", u.kind)
	}
	return q.answer(struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		NS       string   `xml:"xmlns,attr"`
		Bucket   string
		Key      string
		UploadID string `xml:"UploadId"`
	}{NS: namespace, Bucket: q.bucket, Key: q.key, UploadID: u.id})
}

func uploadPart(q *request) *wire.Error {
	n, err := number(q.query.Get("partNumber"))
	if err != nil {
		return err
	}
	q.store.mu.Lock()
	u := q.upload()
	q.store.mu.Unlock()
	if u == nil {
		return errNoUpload()
	}
	part, err := q.take(u.algorithm)
	if err != nil {
		return err
	}
	q.store.mu.Lock()
	defer q.store.mu.Unlock()
	if u = q.upload(); u == nil {
		return errNoUpload()
	}
	u.parts[n] = part
	q.w.Header().Set("ETag", part.etag)
	for name, value := range part.sums.values {
		q.w.Header().Set(sumHeader+name, value)
	}
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func abortUpload(q *request) *wire.Error {
	q.store.mu.Lock()
	defer q.store.mu.Unlock()
	u := q.upload()
	if u == nil {
		return errNoUpload()
	}
	q.store.gone(kindUpload)
	delete(q.store.buckets[q.bucket].uploads, u.id)
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// A completedPart is what a client says of a part when it is done.
type completedPart struct {
	PartNumber        int
	ETag              string
	ChecksumCRC32     string
	ChecksumCRC32C    string
	ChecksumCRC64NVME string
	ChecksumSHA1      string
	ChecksumSHA256    string
}

func (p completedPart) sums() map[string]string {
	return map[string]string{
		"crc32": p.ChecksumCRC32, "crc32c": p.ChecksumCRC32C, "crc64nvme": p.ChecksumCRC64NVME, "sha1": p.ChecksumSHA1, "sha256": p.ChecksumSHA256,
	}
}

// chosen are the parts that a client wants the object to be made of.
func (u *upload) chosen(wanted []completedPart) ([]*object, *wire.Error) {
	if len(wanted) == 0 {
		return nil, errMalformed()
	}
	var parts []*object
	for i, want := range wanted {
		if i > 0 && want.PartNumber <= wanted[i-1].PartNumber {
			return nil, wire.Errorf("InvalidPartOrder", "The list of parts was not in ascending order.")
		}
		part := u.parts[want.PartNumber]
		if part == nil || strings.Trim(want.ETag, `"`) != strings.Trim(part.etag, `"`) {
			return nil, wire.Errorf("InvalidPart", "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.")
		}
		for name, sum := range want.sums() {
			if have := part.sums.values[name]; sum != "" && have != sum {
				return nil, wire.Errorf("InvalidPart", "The %s of part %d does not match the part.", strings.ToUpper(name), want.PartNumber)
			}
		}
		if i < len(wanted)-1 && part.size < minPart {
			return nil, wire.Errorf("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func completeUpload(q *request) *wire.Error {
	var in struct{ Part []completedPart }
	if err := xml.NewDecoder(readBody(q.Request).reader).Decode(&in); err != nil {
		return errMalformed()
	}
	q.store.mu.Lock()
	u := q.upload()
	if u == nil {
		q.store.mu.Unlock()
		return errNoUpload()
	}
	parts, fault := u.chosen(in.Part)
	q.store.mu.Unlock()
	if fault != nil {
		return fault
	}
	o, err := q.store.join(u, parts)
	if err != nil {
		return internal(err)
	}
	for name, sum := range o.sums.values {
		if want := q.Header.Get(sumHeader + name); want != "" && want != sum {
			return wire.Errorf("BadDigest", "The %s you specified did not match the calculated checksum.", strings.ToUpper(name))
		}
	}
	if fault := q.store.put(q.bucket, o, q.Header.Get("If-None-Match") == "*"); fault != nil {
		return fault
	}
	q.store.mu.Lock()
	if q.upload() == u {
		q.store.gone(kindUpload)
		delete(q.store.buckets[q.bucket].uploads, u.id)
	}
	q.store.mu.Unlock()
	return q.answer(struct {
		XMLName           xml.Name `xml:"CompleteMultipartUploadResult"`
		NS                string   `xml:"xmlns,attr"`
		Location          string
		Bucket            string
		Key               string
		ETag              string
		ChecksumCRC32     string `xml:",omitempty"`
		ChecksumCRC32C    string `xml:",omitempty"`
		ChecksumCRC64NVME string `xml:",omitempty"`
		ChecksumSHA1      string `xml:",omitempty"`
		ChecksumSHA256    string `xml:",omitempty"`
		ChecksumType      string
	}{
		NS: namespace, Location: "/" + q.bucket + "/" + q.key, Bucket: q.bucket, Key: q.key, ETag: o.etag,
		ChecksumCRC32: o.sums.values["crc32"], ChecksumCRC32C: o.sums.values["crc32c"], ChecksumCRC64NVME: o.sums.values["crc64nvme"],
		ChecksumSHA1: o.sums.values["sha1"], ChecksumSHA256: o.sums.values["sha256"], ChecksumType: o.sums.kind,
	})
}

// join makes one object of parts.
func (s *Store) join(u *upload, parts []*object) (*object, error) {
	algorithm := u.algorithm
	if algorithm == "" {
		algorithm = "crc64nvme"
	}
	var readers []io.Reader
	tags, composite := md5.New(), algorithms[algorithm]()
	for _, part := range parts {
		readers = append(readers, io.NewSectionReader(part.file, 0, part.size))
		digest, err := hex.DecodeString(strings.Trim(part.etag, `"`))
		if err != nil {
			return nil, fmt.Errorf("read tag of part: %w", err)
		}
		tags.Write(digest)
		sum, err := base64.StdEncoding.DecodeString(part.sums.values[algorithm])
		if err != nil {
			return nil, fmt.Errorf("read checksum of part: %w", err)
		}
		composite.Write(sum)
	}
	o, err := s.receive(io.MultiReader(readers...), []string{algorithm})
	if err != nil {
		return nil, errors.Join(errors.New("join parts"), err)
	}
	o.key, o.header, o.etag = u.key, u.header, compositeTag(tags.Sum(nil), len(parts))
	if u.kind == "COMPOSITE" {
		sum := fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(composite.Sum(nil)), len(parts))
		o.sums = checksums{values: map[string]string{algorithm: sum}, kind: u.kind}
	}
	return o, nil
}

func listParts(q *request) *wire.Error {
	type item struct {
		PartNumber        int
		LastModified      wire.Time
		ETag              string
		Size              int64
		ChecksumCRC32     string `xml:",omitempty"`
		ChecksumCRC32C    string `xml:",omitempty"`
		ChecksumCRC64NVME string `xml:",omitempty"`
		ChecksumSHA1      string `xml:",omitempty"`
		ChecksumSHA256    string `xml:",omitempty"`
	}
	answer := struct {
		XMLName     xml.Name `xml:"ListPartsResult"`
		NS          string   `xml:"xmlns,attr"`
		Bucket      string
		Key         string
		UploadID    string `xml:"UploadId"`
		IsTruncated bool
		Part        []item
	}{NS: namespace, Bucket: q.bucket, Key: q.key, UploadID: q.query.Get("uploadId")}
	q.store.mu.Lock()
	u := q.upload()
	if u != nil {
		for _, n := range slices.Sorted(maps.Keys(u.parts)) {
			p, sums := u.parts[n], u.parts[n].sums.values
			answer.Part = append(answer.Part, item{
				n, wire.Time(p.modified), p.etag, p.size,
				sums["crc32"], sums["crc32c"], sums["crc64nvme"], sums["sha1"], sums["sha256"],
			})
		}
	}
	q.store.mu.Unlock()
	if u == nil {
		return errNoUpload()
	}
	return q.answer(answer)
}

func listUploads(q *request) *wire.Error {
	type item struct {
		Key       string
		UploadID  string `xml:"UploadId"`
		Initiated wire.Time
	}
	answer := struct {
		XMLName     xml.Name `xml:"ListMultipartUploadsResult"`
		NS          string   `xml:"xmlns,attr"`
		Bucket      string
		IsTruncated bool
		Upload      []item
	}{NS: namespace, Bucket: q.bucket}
	q.store.mu.Lock()
	if b := q.store.buckets[q.bucket]; b != nil {
		for _, u := range b.uploads {
			if !strings.HasPrefix(u.key, q.query.Get("prefix")) {
				continue
			}
			answer.Upload = append(answer.Upload, item{u.key, u.id, wire.Time(u.started)})
		}
	}
	q.store.mu.Unlock()
	slices.SortFunc(answer.Upload, func(a, b item) int { return strings.Compare(a.Key+a.UploadID, b.Key+b.UploadID) })
	return q.answer(answer)
}
