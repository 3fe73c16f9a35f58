// Package archive keeps what came of runs in S3.
//
// A file is uploaded in parts, each with its SHA-256, which S3 checks. The
// caller stores what S3 calls the upload; so a process that was killed is
// followed by one that goes on with the parts that are missing. SDK's own
// upload managers can't do that: they begin anew, and leave the first upload
// behind, whose parts cost money until somebody ends it.
package archive

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/errgroup"

	"github.com/loads/loads/broker"
)

const (
	// partSize is that of a part; S3 takes parts from 5 MiB, and 10,000 of them.
	partSize = 8 << 20
	maxParts = 10_000
	// atOnce is how many parts are under way at once.
	atOnce = 4
	// tries is how often a call is made before it has failed.
	tries = 5
)

// Config is what an Archiver is made of.
type Config struct {
	// Region is that of calls whose bucket has not told its own; empty is the
	// settings'.
	Region string
	// SDK, when not nil, is used in place of the settings of the environment.
	SDK *sdk.Config
}

// An Archiver keeps files in S3. It may be used by many goroutines at once.
type Archiver struct {
	sdk sdk.Config

	mu      sync.Mutex
	regions map[string]string // of buckets that have told it
}

var _ broker.Archiver = (*Archiver)(nil)

// Open makes an Archiver. S3 is not asked yet. It gives EInvalid when there are
// no credentials, or no region.
func Open(ctx context.Context, c Config) (*Archiver, error) {
	a := &Archiver{regions: map[string]string{}}
	if c.SDK != nil {
		a.sdk = c.SDK.Copy()
	} else {
		loaded, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return nil, &broker.Error{Code: broker.EInvalid, Err: err, Message: "The settings for AWS can't be read; see docs/running-on-aws.md for what is needed"}
		}
		a.sdk = loaded
	}
	a.sdk.Region = cmp.Or(c.Region, a.sdk.Region)
	if a.sdk.Region == "" {
		return nil, broker.Errorf(broker.EInvalid, "No AWS region is set for archives; set AWS_REGION.")
	}
	if a.sdk.Credentials == nil {
		return nil, broker.Errorf(broker.EInvalid, "There are no AWS credentials for archives; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.")
	}
	a.sdk.Logger = logging.Nop{} // what it has to say is in its errors
	a.sdk.Retryer = func() sdk.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = tries, 10*time.Second })
	}
	return a, nil
}

// Parse takes an address such as s3://bucket/prefix apart. It gives EInvalid
// for what is none.
func Parse(address string) (bucket, key string, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", "", broker.Errorf(broker.EInvalid, "%q is no address in S3; give one such as s3://bucket/prefix.", address)
	}
	return u.Host, strings.TrimPrefix(u.Path, "/"), nil
}

// An object is one to be stored, and the calls for it.
type object struct {
	client      *s3.Client
	bucket, key *string
}

// in returns the object at an address.
func (a *Archiver) in(address string) (*object, error) {
	bucket, key, err := Parse(address)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	region := a.regions[bucket]
	a.mu.Unlock()
	client := s3.NewFromConfig(a.sdk, func(o *s3.Options) {
		o.Region = cmp.Or(region, o.Region)
		o.UsePathStyle = o.BaseEndpoint != nil // other servers have no name for each bucket
	})
	return &object{client: client, bucket: &bucket, key: &key}, nil
}

// Store puts the file at the address; see broker.Archiver.
func (a *Archiver) Store(ctx context.Context, address string, f *os.File, upload string, note func(string) error) (checksum string, err error) {
	err = a.inRegion(address, func(o *object) error {
		checksum, err = o.store(ctx, f, upload, note)
		return err
	})
	return checksum, err
}

// Forget ends the uploads for the address that are not finished.
func (a *Archiver) Forget(ctx context.Context, address string) error {
	return a.inRegion(address, func(o *object) error { return o.abortAll(ctx) })
}

// inRegion calls f, and again when S3 has said that the bucket is in another
// region.
func (a *Archiver) inRegion(address string, f func(*object) error) error {
	o, err := a.in(address)
	if err != nil {
		return err
	}
	err = f(o)
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil {
		told := answer.Response.Header.Get("X-Amz-Bucket-Region")
		if told != "" && told != o.client.Options().Region {
			a.mu.Lock()
			a.regions[*o.bucket] = told
			a.mu.Unlock()
			if o, err = a.in(address); err == nil {
				err = f(o)
			}
		}
	}
	return o.explain(err)
}

// A part is a piece of the file.
type part struct {
	number   int32
	from, n  int64
	checksum string // SHA-256, in base64
}

func (o *object) store(ctx context.Context, f *os.File, upload string, note func(string) error) (string, error) {
	parts, whole, err := cut(f)
	if err != nil {
		return "", err
	}
	if upload != "" {
		done, err := o.goOn(ctx, f, upload, parts, whole)
		if err != nil || done {
			return whole, err
		}
	}
	// What was begun, and nobody noted, ends here.
	if err := o.abortAll(ctx); err != nil {
		return "", err
	}
	made, err := o.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: o.bucket, Key: o.key, ContentType: sdk.String("application/gzip"),
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256, ChecksumType: types.ChecksumTypeComposite,
	})
	if err != nil {
		return "", fmt.Errorf("begin the upload: %w", err)
	}
	if err := note(*made.UploadId); err != nil {
		return "", err
	}
	done, err := o.goOn(ctx, f, *made.UploadId, parts, whole)
	if err == nil && !done {
		err = broker.Errorf(broker.EUnavailable, "the upload was ended by somebody else")
	}
	return whole, err
}

// goOn uploads the parts that the upload does not have, and finishes it. It
// returns false when there is no such upload any more, and no such object.
func (o *object) goOn(ctx context.Context, f *os.File, upload string, parts []part, whole string) (bool, error) {
	have, err := o.parts(ctx, upload)
	if isGone(err) {
		return o.isThere(ctx, whole)
	}
	if err != nil {
		return false, fmt.Errorf("list what is uploaded: %w", err)
	}
	finished := make([]types.CompletedPart, len(parts))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, p := range parts {
		finished[i] = types.CompletedPart{PartNumber: sdk.Int32(p.number), ChecksumSHA256: sdk.String(p.checksum)}
		if old, ok := have[p.number]; ok && sdk.ToString(old.ChecksumSHA256) == p.checksum && sdk.ToInt64(old.Size) == p.n {
			finished[i].ETag = old.ETag
			continue
		}
		group.Go(func() error {
			out, err := o.client.UploadPart(inner, &s3.UploadPartInput{
				Bucket: o.bucket, Key: o.key, UploadId: &upload, PartNumber: sdk.Int32(p.number),
				Body: io.NewSectionReader(f, p.from, p.n), ContentLength: sdk.Int64(p.n),
				ChecksumAlgorithm: types.ChecksumAlgorithmSha256, ChecksumSHA256: sdk.String(p.checksum),
			})
			if err != nil {
				return fmt.Errorf("upload part %d of %d: %w", p.number, len(parts), err)
			}
			finished[i].ETag = out.ETag
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return false, err
	}
	out, err := o.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: o.bucket, Key: o.key, UploadId: &upload, ChecksumType: types.ChecksumTypeComposite,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: finished},
	})
	if isGone(err) { // perhaps since it was done, and the answer lost
		return o.isThere(ctx, whole)
	}
	if err != nil {
		return false, fmt.Errorf("finish the upload: %w", err)
	}
	if got := sdk.ToString(out.ChecksumSHA256); got != whole {
		return false, broker.Errorf(broker.EUnavailable, "S3 has the checksum %s, and the file %s", got, whole)
	}
	// A call without an answer may have begun another one.
	return true, o.abortAll(ctx)
}

// cut divides the file into parts, and returns them with their checksums, and
// that which S3 gives the whole.
func cut(f *os.File) (parts []part, whole string, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, "", fmt.Errorf("look at the archive: %w", err)
	}
	size := max(int64(partSize), (info.Size()/maxParts+1+1<<20)>>20<<20)
	all := sha256.New()
	for from := int64(0); from < info.Size() || from == 0; from += size {
		n := min(size, info.Size()-from)
		sum := sha256.New()
		if _, err := io.Copy(sum, io.NewSectionReader(f, from, n)); err != nil {
			return nil, "", fmt.Errorf("read the archive: %w", err)
		}
		digest := sum.Sum(nil)
		_, _ = all.Write(digest) // a hash takes everything
		parts = append(parts, part{int32(len(parts) + 1), from, n, base64.StdEncoding.EncodeToString(digest)})
	}
	return parts, fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(all.Sum(nil)), len(parts)), nil
}

// parts are those that an upload has, by number.
func (o *object) parts(ctx context.Context, upload string) (map[int32]types.Part, error) {
	have := map[int32]types.Part{}
	pages := s3.NewListPartsPaginator(o.client, &s3.ListPartsInput{Bucket: o.bucket, Key: o.key, UploadId: &upload})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, p := range page.Parts {
			have[sdk.ToInt32(p.PartNumber)] = p
		}
	}
	return have, nil
}

// isThere reports whether the object is there with the checksum.
func (o *object) isThere(ctx context.Context, whole string) (bool, error) {
	out, err := o.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: o.bucket, Key: o.key, ChecksumMode: types.ChecksumModeEnabled})
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the archive: %w", err)
	}
	if sdk.ToString(out.ChecksumSHA256) != whole {
		return false, nil
	}
	return true, o.abortAll(ctx)
}

// abortAll ends the uploads for the object that are not finished.
func (o *object) abortAll(ctx context.Context) error {
	pages := s3.NewListMultipartUploadsPaginator(o.client, &s3.ListMultipartUploadsInput{Bucket: o.bucket, Prefix: o.key})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list unfinished uploads: %w", err)
		}
		for _, u := range page.Uploads {
			if sdk.ToString(u.Key) != *o.key {
				continue
			}
			_, err := o.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: o.bucket, Key: o.key, UploadId: u.UploadId})
			if err != nil && !isGone(err) {
				return fmt.Errorf("end an unfinished upload: %w", err)
			}
		}
	}
	return nil
}

func codeOf(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

func isGone(err error) bool { return codeOf(err) == "NoSuchUpload" }

// explain makes a sentence for users of an error of S3.
func (o *object) explain(err error) error {
	var known *broker.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	bucket := ""
	if o != nil {
		bucket = *o.bucket
	}
	code, message := broker.EUnavailable, "S3 can't take the archive now"
	switch codeOf(err) {
	case "NoSuchBucket":
		code, message = broker.EInvalid, fmt.Sprintf("S3 has no bucket %s; make it, or name another", bucket)
	case "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch":
		code, message = broker.EInvalid, fmt.Sprintf("S3 does not let these credentials archive in bucket %s; aws/archive/policy.json says what they need", bucket)
	}
	return &broker.Error{Code: code, Message: message, Err: err}
}
