package s3

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/loads/loads/aws/ec2sim/wire"
)

const namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// A request is one to the store.
type request struct {
	*http.Request
	store     *Store
	w         http.ResponseWriter
	requestID string
	region    string
	bucket    string
	key       string
	query     url.Values
}

// actions are what can be asked for, by their names in S3's documentation.
var actions = map[string]func(*request) *wire.Error{
	"ListBuckets": listBuckets, "CreateBucket": createBucket, "HeadBucket": headBucket, "DeleteBucket": deleteBucket,
	"GetBucketLocation": getBucketLocation, "ListObjects": listObjects, "ListObjectsV2": listObjects, "DeleteObjects": deleteObjects,
	"PutObject": putObject, "GetObject": getObject, "HeadObject": getObject, "DeleteObject": deleteObject,
	"CreateMultipartUpload": createUpload, "UploadPart": uploadPart, "CompleteMultipartUpload": completeUpload,
	"AbortMultipartUpload": abortUpload, "ListParts": listParts, "ListMultipartUploads": listUploads,
}

// Action is the name of what a request asks for.
func Action(r *http.Request) string {
	bucket, key := split(r)
	q := r.URL.Query()
	for _, unknown := range []string{"acl", "tagging", "policy", "versioning", "lifecycle", "cors", "encryption", "website", "notification", "attributes"} {
		if q.Has(unknown) {
			return "?" + unknown
		}
	}
	switch {
	case bucket == "":
		return map[string]string{"GET": "ListBuckets"}[r.Method]
	case key == "" && r.Method == http.MethodGet && q.Has("location"):
		return "GetBucketLocation"
	case key == "" && r.Method == http.MethodGet && q.Has("uploads"):
		return "ListMultipartUploads"
	case key == "" && r.Method == http.MethodGet && q.Get("list-type") == "2":
		return "ListObjectsV2"
	case key == "" && r.Method == http.MethodPost && q.Has("delete"):
		return "DeleteObjects"
	case key == "":
		return map[string]string{"GET": "ListObjects", "PUT": "CreateBucket", "HEAD": "HeadBucket", "DELETE": "DeleteBucket"}[r.Method]
	case r.Method == http.MethodPost && q.Has("uploads"):
		return "CreateMultipartUpload"
	case q.Has("uploadId"):
		return map[string]string{"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload", "GET": "ListParts"}[r.Method]
	case r.Header.Get("X-Amz-Copy-Source") != "":
		return "CopyObject"
	}
	return map[string]string{"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}[r.Method]
}

func split(r *http.Request) (bucket, key string) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return bucket, key
}

// Serve answers a request whose signature is right.
func (s *Store) Serve(w http.ResponseWriter, r *http.Request, region, requestID string) {
	q := &request{Request: r, store: s, w: w, requestID: requestID, region: region, query: r.URL.Query()}
	q.bucket, q.key = split(r)
	name := Action(r)
	do, known := actions[name]
	if !known {
		q.fail(wire.Errorf("NotImplemented", "A header or query you provided implies functionality that is not simulated: %s.", name).With(http.StatusNotImplemented))
		return
	}
	if name != "CreateBucket" && name != "ListBuckets" {
		s.mu.Lock()
		b := s.buckets[q.bucket]
		s.mu.Unlock()
		if b == nil {
			q.fail(errNoBucket())
			return
		}
		w.Header().Set("X-Amz-Bucket-Region", b.region)
	}
	if err := do(q); err != nil {
		q.fail(err)
	}
}

func (q *request) fail(err *wire.Error) {
	if q.Method == http.MethodHead {
		q.w.WriteHeader(err.Status) // an answer to HEAD has no body
		return
	}
	wire.WriteError(q.w, wire.S3, q.requestID, err)
}

// answer answers with a document.
func (q *request) answer(v any) *wire.Error {
	data, err := xml.Marshal(v)
	if err != nil {
		return internal(err)
	}
	wire.WriteXML(q.w, q.requestID, http.StatusOK, data)
	return nil
}

func internal(err error) *wire.Error {
	return wire.Errorf("InternalError", "%v", err).With(http.StatusInternalServerError)
}

func listBuckets(q *request) *wire.Error {
	type item struct {
		Name         string
		CreationDate wire.Time
		BucketRegion string
	}
	answer := struct {
		XMLName xml.Name `xml:"ListAllMyBucketsResult"`
		NS      string   `xml:"xmlns,attr"`
		Owner   struct{ ID string }
		Buckets struct{ Bucket []item }
	}{NS: namespace}
	q.store.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(q.store.buckets)) {
		b := q.store.buckets[name]
		answer.Buckets.Bucket = append(answer.Buckets.Bucket, item{name, wire.Time(b.created), b.region})
	}
	q.store.mu.Unlock()
	return q.answer(answer)
}

func createBucket(q *request) *wire.Error {
	var in struct{ LocationConstraint string }
	if q.ContentLength > 0 {
		if err := xml.NewDecoder(q.Body).Decode(&in); err != nil {
			return errMalformed()
		}
	}
	region := in.LocationConstraint
	if region == "" {
		region = "us-east-1"
	}
	if region != q.region {
		return wire.Errorf("IllegalLocationConstraintException", "The %s location constraint is incompatible for the region specific endpoint this request was sent to.", region)
	}
	if err := q.store.createBucket(q.bucket, region); err != nil {
		return err
	}
	q.w.Header().Set("Location", "/"+q.bucket)
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func headBucket(q *request) *wire.Error {
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func deleteBucket(q *request) *wire.Error {
	if err := q.store.deleteBucket(q.bucket); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

func getBucketLocation(q *request) *wire.Error {
	region := q.w.Header().Get("X-Amz-Bucket-Region")
	if region == "us-east-1" {
		region = ""
	}
	return q.answer(struct {
		XMLName xml.Name `xml:"LocationConstraint"`
		NS      string   `xml:"xmlns,attr"`
		Region  string   `xml:",chardata"`
	}{NS: namespace, Region: region})
}

// ownHeaders are the headers of a request that stay with the object.
func ownHeaders(r *http.Request) http.Header {
	h := http.Header{}
	for name, values := range r.Header {
		switch name {
		case "Content-Type", "Content-Disposition", "Content-Language", "Cache-Control", "Expires":
			h[name] = values
		case "Content-Encoding":
			if v := strings.Trim(strings.ReplaceAll(values[0], "aws-chunked", ""), ", "); v != "" {
				h.Set(name, v)
			}
		default:
			if strings.HasPrefix(name, "X-Amz-Meta-") {
				h[name] = values
			}
		}
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "binary/octet-stream")
	}
	return h
}

// take receives the body of a request and checks it.
func (q *request) take(more ...string) (*object, *wire.Error) {
	body := readBody(q.Request)
	o, err := q.store.receive(body.reader, asked(q.Request, more...))
	if errors.Is(err, errChunks) {
		return nil, wire.Errorf("IncompleteBody", "%v.", errChunks)
	}
	if err != nil {
		return nil, internal(err)
	}
	if wrong := body.check(q.Request, o.sums.values); wrong != nil {
		return nil, wrong
	}
	return o, nil
}

func putObject(q *request) *wire.Error {
	o, err := q.take()
	if err != nil {
		return err
	}
	o.key, o.header = q.key, ownHeaders(q.Request)
	if err := q.store.put(q.bucket, o, q.Header.Get("If-None-Match") == "*"); err != nil {
		return err
	}
	q.w.Header().Set("ETag", o.etag)
	o.sums.writeTo(q.w.Header())
	q.w.WriteHeader(http.StatusOK)
	return nil
}

func (c checksums) writeTo(h http.Header) {
	for name, value := range c.values {
		h.Set(sumHeader+name, value)
		h.Set("X-Amz-Checksum-Type", c.kind)
	}
}

// getObject answers HEAD as well.
func getObject(q *request) *wire.Error {
	o := q.store.object(q.bucket, q.key)
	if o == nil {
		return errNoKey()
	}
	h := q.w.Header()
	for name, values := range o.header {
		h[name] = values
	}
	h.Set("ETag", o.etag)
	h.Set("X-Amz-Request-Id", q.requestID)
	if q.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" && q.Header.Get("Range") == "" {
		o.sums.writeTo(h)
	}
	http.ServeContent(q.w, q.Request, "", o.modified, io.NewSectionReader(o.file, 0, o.size))
	return nil
}

func deleteObject(q *request) *wire.Error {
	q.store.deleteObject(q.bucket, q.key)
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

func deleteObjects(q *request) *wire.Error {
	var in struct {
		Quiet  bool
		Object []struct{ Key string }
	}
	body := readBody(q.Request)
	if err := xml.NewDecoder(body.reader).Decode(&in); err != nil {
		return errMalformed()
	}
	type item struct{ Key string }
	answer := struct {
		XMLName xml.Name `xml:"DeleteResult"`
		NS      string   `xml:"xmlns,attr"`
		Deleted []item
	}{NS: namespace}
	for _, o := range in.Object {
		q.store.deleteObject(q.bucket, o.Key)
		if !in.Quiet {
			answer.Deleted = append(answer.Deleted, item{o.Key})
		}
	}
	return q.answer(answer)
}

type xmlObject struct {
	Key          string
	LastModified wire.Time
	ETag         string
	Size         int64
	StorageClass string
}

type xmlPrefix struct{ Prefix string }

func listObjects(q *request) *wire.Error {
	second := q.query.Get("list-type") == "2"
	most := 1000
	if text := q.query.Get("max-keys"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return wire.Errorf("InvalidArgument", "Provided max-keys not an integer or within integer range")
		}
		most = min(n, most)
	}
	after := q.query.Get("marker")
	if second {
		after = q.query.Get("start-after")
		if token := q.query.Get("continuation-token"); token != "" {
			data, err := base64.URLEncoding.DecodeString(token)
			if err != nil {
				return wire.Errorf("InvalidArgument", "The continuation token provided is incorrect")
			}
			after = string(data)
		}
	}
	prefix, delimiter := q.query.Get("prefix"), q.query.Get("delimiter")
	l := q.store.list(q.bucket, prefix, delimiter, after, most)
	word := func(s string) string { return s }
	if q.query.Get("encoding-type") == "url" {
		word = func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%2F", "/") }
	}
	answer := struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		NS                    string   `xml:"xmlns,attr"`
		Name                  string
		Prefix                string
		Delimiter             string `xml:",omitempty"`
		MaxKeys               int
		EncodingType          string `xml:",omitempty"`
		IsTruncated           bool
		KeyCount              *int
		NextContinuationToken string `xml:",omitempty"`
		NextMarker            string `xml:",omitempty"`
		Contents              []xmlObject
		CommonPrefixes        []xmlPrefix
	}{
		NS: namespace, Name: q.bucket, Prefix: word(prefix), Delimiter: word(delimiter), MaxKeys: most,
		EncodingType: q.query.Get("encoding-type"), IsTruncated: l.next != "",
	}
	if second {
		n := len(l.objects) + len(l.prefixes)
		answer.KeyCount = &n
		answer.NextContinuationToken = base64.URLEncoding.EncodeToString([]byte(l.next))
	} else {
		answer.NextMarker = word(l.next)
	}
	for _, o := range l.objects {
		answer.Contents = append(answer.Contents, xmlObject{word(o.key), wire.Time(o.modified), o.etag, o.size, "STANDARD"})
	}
	for _, p := range l.prefixes {
		answer.CommonPrefixes = append(answer.CommonPrefixes, xmlPrefix{word(p)})
	}
	return q.answer(answer)
}

func errMalformed() *wire.Error {
	return wire.Errorf("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
}

// number reads a part's number.
func number(text string) (int, *wire.Error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 10000 {
		return 0, wire.Errorf("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
	}
	return n, nil
}

func compositeTag(digest []byte, parts int) string { return fmt.Sprintf(`"%x-%d"`, digest, parts) }
