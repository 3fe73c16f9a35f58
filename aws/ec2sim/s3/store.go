// Package s3 is S3 on one computer: buckets with objects in a folder, spoken to
// by path (http://host/bucket/key). It keeps what it knows of objects in memory
// and their bytes in files that have no name, so that nothing of a store is left
// when its process ends, however it does.
package s3

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/loads/loads/aws/ec2sim/wire"
)

// A Store holds buckets. It may be used concurrently.
type Store struct {
	dir string

	mu      sync.Mutex
	buckets map[string]*bucket
	counts  map[string]*[2]int // of each kind: made, left
}

type bucket struct {
	name    string
	region  string
	created time.Time
	objects map[string]*object
	uploads map[string]*upload
}

// An object is what a key stands for; it doesn't change. Its file is closed by
// the runtime, when neither the store nor an answer in progress has it.
type object struct {
	key      string
	file     *os.File // without a name: gone with the last who holds it
	size     int64
	etag     string // in quotes
	modified time.Time
	header   http.Header // of its own: Content-Type and the like
	sums     checksums
}

// checksums are what is known of some bytes, in base64, by algorithm.
type checksums struct {
	values map[string]string
	kind   string // FULL_OBJECT or COMPOSITE
}

// An upload is an object that comes in parts.
type upload struct {
	id        string
	key       string
	started   time.Time
	algorithm string // of checksums, if the client named one
	kind      string
	header    http.Header
	parts     map[int]*object
}

// The kinds of things that are counted.
const (
	kindBucket = "buckets"
	kindObject = "objects"
	kindUpload = "multipart-uploads"
)

// Open makes an empty store that keeps objects in a folder, which has to exist.
func Open(dir string) (*Store, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("open store of objects: %q is not a folder", dir)
	}
	s := &Store{dir: dir, buckets: map[string]*bucket{}, counts: map[string]*[2]int{}}
	for _, kind := range []string{kindBucket, kindObject, kindUpload} {
		s.counts[kind] = &[2]int{}
	}
	return s, nil
}

// Counts are how many of each kind were ever made, and how many are left.
func (s *Store) Counts() map[string][2]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string][2]int{}
	for kind, n := range s.counts {
		all[kind] = *n
	}
	return all
}

func (s *Store) made(kind string) {
	s.counts[kind][0]++
	s.counts[kind][1]++
}

func (s *Store) gone(kind string) { s.counts[kind][1]-- }

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (s *Store) createBucket(name, region string) *wire.Error {
	if !bucketName.MatchString(name) || strings.Contains(name, "..") {
		return wire.Errorf("InvalidBucketName", "The specified bucket is not valid.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[name] != nil {
		return wire.Errorf("BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.").With(http.StatusConflict)
	}
	s.buckets[name] = &bucket{
		name: name, region: region, created: time.Now(),
		objects: map[string]*object{}, uploads: map[string]*upload{},
	}
	s.made(kindBucket)
	return nil
}

func (s *Store) deleteBucket(name string) *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.buckets[name].objects) > 0 {
		return wire.Errorf("BucketNotEmpty", "The bucket you tried to delete is not empty").With(http.StatusConflict)
	}
	for range s.buckets[name].uploads {
		s.gone(kindUpload)
	}
	delete(s.buckets, name)
	s.gone(kindBucket)
	return nil
}

// receive writes a body to a file, and finds its size and sums.
func (s *Store) receive(body io.Reader, algorithms []string) (*object, error) {
	f, err := os.CreateTemp(s.dir, "ec2sim-object-")
	if err != nil {
		return nil, fmt.Errorf("make file of object: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("take name of object's file: %w", err), f.Close())
	}
	o := &object{file: f, modified: time.Now(), header: http.Header{}}
	digest, sums := md5.New(), newSums(algorithms)
	if o.size, err = io.Copy(io.MultiWriter(f, digest, sums), body); err != nil {
		return nil, errors.Join(fmt.Errorf("receive object: %w", err), f.Close())
	}
	o.etag = `"` + hex.EncodeToString(digest.Sum(nil)) + `"`
	o.sums = checksums{values: sums.values(), kind: "FULL_OBJECT"}
	return o, nil
}

// put makes an object the one of its key.
func (s *Store) put(bucketName string, o *object, onlyNew bool) *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucketName]
	if b == nil {
		return errNoBucket()
	}
	if b.objects[o.key] != nil {
		if onlyNew {
			return wire.Errorf("PreconditionFailed", "At least one of the pre-conditions you specified did not hold").With(http.StatusPreconditionFailed)
		}
		s.gone(kindObject)
	}
	b.objects[o.key] = o
	s.made(kindObject)
	return nil
}

func (s *Store) deleteObject(bucketName, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[bucketName]; b != nil && b.objects[key] != nil {
		delete(b.objects, key)
		s.gone(kindObject)
	}
}

func (s *Store) object(bucketName, key string) *object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buckets[bucketName].objects[key]
}

// A listing is a part of a bucket's list of objects.
type listing struct {
	objects  []*object
	prefixes []string
	next     string // the last that was listed, if there are more
}

// list lists a bucket's objects after one name, with those beyond a delimiter
// taken together.
func (s *Store) list(bucketName, prefix, delimiter, after string, most int) listing {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucketName]
	var l listing
	last := ""
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		rest, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		name, common := key, false
		if i := strings.Index(rest, delimiter); delimiter != "" && i >= 0 {
			name, common = prefix+rest[:i+len(delimiter)], true
		}
		if name <= after || (common && name == last) {
			continue
		}
		if len(l.objects)+len(l.prefixes) == most {
			l.next = last
			return l
		}
		last = name
		if common {
			l.prefixes = append(l.prefixes, name)
		} else {
			l.objects = append(l.objects, b.objects[key])
		}
	}
	return l
}

func errNoBucket() *wire.Error {
	return wire.Errorf("NoSuchBucket", "The specified bucket does not exist").With(http.StatusNotFound)
}

func errNoKey() *wire.Error {
	return wire.Errorf("NoSuchKey", "The specified key does not exist.").With(http.StatusNotFound)
}

func errNoUpload() *wire.Error {
	return wire.Errorf("NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.").With(http.StatusNotFound)
}
