package ec2sim_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/loads/loads/aws/ec2sim"
)

// store is a client of S3 with a bucket.
func store(t *testing.T, c *cloud) *s3.Client {
	t.Helper()
	client := s3.NewFromConfig(c.serve().config(virginia))
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket")}); err != nil {
		t.Fatal(err)
	}
	return client
}

// noise are bytes that nothing compresses, the same each time.
func noise(n int) []byte {
	data := make([]byte, n)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(data)
	return data
}

func read(t *testing.T, client *s3.Client, key string) []byte {
	t.Helper()
	out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: &key, ChecksumMode: s3types.ChecksumModeEnabled})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body) // the SDK compares the checksum here
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestObjects(t *testing.T) {
	c := startCloud(t, quick())
	client := store(t, c)
	data := noise(100_000)
	for _, algorithm := range append(s3types.ChecksumAlgorithmCrc32.Values(), "") {
		switch algorithm { // the others the SDK doesn't make by itself
		case "", s3types.ChecksumAlgorithmCrc32, s3types.ChecksumAlgorithmCrc32c, s3types.ChecksumAlgorithmCrc64nvme, s3types.ChecksumAlgorithmSha1, s3types.ChecksumAlgorithmSha256:
		default:
			continue
		}
		t.Run("with checksum "+string(algorithm), func(t *testing.T) {
			key := "runs/7/" + string(algorithm) + " é+"
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
				Bucket: aws.String("bucket"), Key: &key, Body: bytes.NewReader(data), ChecksumAlgorithm: algorithm,
				ContentType: aws.String("text/plain"), Metadata: map[string]string{"run": "7"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(read(t, client, key), data) {
				t.Error("other bytes came back")
			}
			head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: &key})
			if err != nil || *head.ContentLength != int64(len(data)) || *head.ContentType != "text/plain" || head.Metadata["run"] != "7" {
				t.Errorf("head %+v, error %v", head, err)
			}
		})
	}
	wrong := sha256.Sum256([]byte("something else"))
	_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("bucket"), Key: aws.String("wrong"), Body: bytes.NewReader(data), ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(wrong[:])),
	})
	wantCode(t, err, "BadDigest")
	_, err = client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("none"), Key: aws.String("k"), Body: bytes.NewReader(data)})
	wantCode(t, err, "NoSuchBucket")
	_, err = client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("wrong")})
	wantCode(t, err, "NoSuchKey")
	if got := c.sim.State().Receipt["objects"]; got.Left != got.Made || got.Made < 5 {
		t.Errorf("objects %+v", got)
	}
}

func TestMultipartUploads(t *testing.T) {
	tests := []struct {
		name      string
		algorithm s3types.ChecksumAlgorithm
		kind      s3types.ChecksumType
	}{
		{"of parts, SHA-256", s3types.ChecksumAlgorithmSha256, s3types.ChecksumTypeComposite},
		{"of parts, CRC-32", s3types.ChecksumAlgorithmCrc32, s3types.ChecksumTypeComposite},
		{"of all, CRC-32C", s3types.ChecksumAlgorithmCrc32c, s3types.ChecksumTypeFullObject},
		{"of all, CRC-64", s3types.ChecksumAlgorithmCrc64nvme, s3types.ChecksumTypeFullObject},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := startCloud(t, quick())
			client := store(t, c)
			bucket, key, data := aws.String("bucket"), aws.String("archive.tar"), noise(6<<20)
			made, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key, ChecksumAlgorithm: tt.algorithm, ChecksumType: tt.kind})
			if err != nil {
				t.Fatal(err)
			}
			var parts []s3types.CompletedPart
			for i, part := range [][]byte{data[:5<<20], data[5<<20:]} {
				out, err := client.UploadPart(t.Context(), &s3.UploadPartInput{
					Bucket: bucket, Key: key, UploadId: made.UploadId, PartNumber: aws.Int32(int32(i + 1)), Body: bytes.NewReader(part), ChecksumAlgorithm: tt.algorithm,
				})
				if err != nil {
					t.Fatal(err)
				}
				parts = append(parts, s3types.CompletedPart{
					PartNumber: aws.Int32(int32(i + 1)), ETag: out.ETag, ChecksumSHA256: out.ChecksumSHA256,
					ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC32C: out.ChecksumCRC32C, ChecksumCRC64NVME: out.ChecksumCRC64NVME,
				})
			}
			listed, err := client.ListParts(t.Context(), &s3.ListPartsInput{Bucket: bucket, Key: key, UploadId: made.UploadId})
			if err != nil || len(listed.Parts) != 2 {
				t.Errorf("parts %+v, error %v", listed, err)
			}
			for i, p := range listed.Parts {
				if aws.ToString(p.ChecksumSHA256) != aws.ToString(parts[i].ChecksumSHA256) || aws.ToString(p.ChecksumCRC32) != aws.ToString(parts[i].ChecksumCRC32) {
					t.Errorf("part %d is listed with other checksums: %+v", i+1, p)
				}
			}
			complete := func(parts []s3types.CompletedPart) error {
				_, err := client.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
					Bucket: bucket, Key: key, UploadId: made.UploadId, MultipartUpload: &s3types.CompletedMultipartUpload{Parts: parts}, ChecksumType: tt.kind,
				})
				return err
			}
			wantCode(t, complete([]s3types.CompletedPart{{PartNumber: aws.Int32(3), ETag: aws.String("x")}}), "InvalidPart")
			wantCode(t, complete(parts), "")
			wantCode(t, complete(parts), "NoSuchUpload")
			if !bytes.Equal(read(t, client, *key), data) {
				t.Error("other bytes came back")
			}
			head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: key, ChecksumMode: s3types.ChecksumModeEnabled})
			if err != nil || !strings.HasSuffix(*head.ETag, `-2"`) || head.ChecksumType != tt.kind {
				t.Errorf("head %+v, error %v", head, err)
			}
			if got, want := c.sim.State().Receipt["multipart-uploads"], (ec2sim.Tally{Made: 1, Left: 0}); got != want {
				t.Errorf("uploads %+v, want %+v", got, want)
			}
		})
	}
}

func TestUploadsThatAreNotFinished(t *testing.T) {
	c := startCloud(t, quick())
	client := store(t, c)
	bucket, key := aws.String("bucket"), aws.String("k")
	made, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	open, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: bucket})
	if err != nil || len(open.Uploads) != 1 {
		t.Errorf("uploads %+v, error %v", open, err)
	}
	other, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: bucket, Prefix: aws.String("another")})
	if err != nil || len(other.Uploads) != 0 {
		t.Errorf("uploads with another prefix %+v, error %v", other, err)
	}
	if _, err := client.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: bucket, Key: key, UploadId: made.UploadId}); err != nil {
		t.Fatal(err)
	}
	if got := c.sim.State().Receipt["multipart-uploads"].Left; got != 0 {
		t.Errorf("%d uploads are left", got)
	}
}

func TestListsOfObjects(t *testing.T) {
	c := startCloud(t, quick())
	client := store(t, c)
	bucket := aws.String("bucket")
	for _, key := range []string{"a/1", "a/2", "b/1", "b/2", "c"} {
		if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: strings.NewReader(key)}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: bucket, Delimiter: aws.String("/")})
	if err != nil || len(out.Contents) != 1 || len(out.CommonPrefixes) != 2 {
		t.Errorf("list %+v, error %v; want one object and two folders", out, err)
	}
	n := 0
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket, MaxKeys: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Contents)
	}
	if n != 5 {
		t.Errorf("%d objects in pages, want 5", n)
	}
	_, err = client.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: bucket})
	wantCode(t, err, "BucketNotEmpty")
	doomed := &s3types.Delete{}
	for _, key := range []string{"a/1", "a/2", "b/1", "b/2"} {
		doomed.Objects = append(doomed.Objects, s3types.ObjectIdentifier{Key: &key})
	}
	if _, err := client.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: bucket, Delete: doomed}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: aws.String("c")}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"buckets", "objects"} {
		if got := c.sim.State().Receipt[kind]; got.Left != 0 || got.Made == 0 {
			t.Errorf("%s %+v", kind, got)
		}
	}
}

func TestAPresignedAddress(t *testing.T) {
	c := startCloud(t, quick())
	client := store(t, c)
	bucket, key := aws.String("bucket"), aws.String("image.tar")
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("image")}); err != nil {
		t.Fatal(err)
	}
	signed, err := s3.NewPresignClient(client).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{signed.URL: "image", signed.URL + "0": "SignatureDoesNotMatch", c.url + "/bucket/image.tar": "AccessDenied"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %s, error %v; want %s", address, text, err, want)
		}
	}
}

func TestFaultsOfS3(t *testing.T) {
	c := withFaults(t,
		ec2sim.Fault{Name: ec2sim.Throttled, Action: "PutObject", Count: 1},
		ec2sim.Fault{Name: ec2sim.ErrorAfter, Action: "PutObject", Count: 1},
		ec2sim.Fault{Name: ec2sim.AnswerLost, Action: "PutObject", Count: 1},
	)
	client := store(t, c)
	put := func() error {
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Body: strings.NewReader("x")})
		return err
	}
	wantCode(t, put(), "SlowDown")
	if n := c.sim.State().Receipt["objects"].Made; n != 0 {
		t.Errorf("%d objects were made by a call that was refused", n)
	}
	wantCode(t, put(), "InternalError")
	if err := put(); err == nil {
		t.Error("an answer came that should have been lost")
	}
	if n := c.sim.State().Receipt["objects"].Made; n != 2 {
		t.Errorf("%d objects were made by two calls that were done", n)
	}
	wantCode(t, put(), "")
}
