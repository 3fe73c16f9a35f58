package images

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/retry"

	"github.com/loads/loads/images/order"
)

// findLimit is how long a registry may take to tell of an image.
const findLimit = time.Minute

// fromRegistry gets an image from its registry, of the machine's architecture,
// and returns the digest of its manifest.
func (f *Fetcher) fromRegistry(ctx context.Context, from order.Registry) (string, error) {
	repo, err := remote.NewRepository(from.Image)
	if err != nil {
		return "", fmt.Errorf("find the registry of image %s: %w", from.Image, err)
	}
	repo.PlainHTTP = isLoopback(repo.Reference.Host()) // as for engines
	repo.Client = &auth.Client{
		Client: retry.DefaultClient, Cache: auth.NewCache(),
		Credential: auth.StaticCredential(repo.Reference.Host(), auth.Credential{
			Username: from.User, Password: from.Password, RefreshToken: from.RefreshToken, AccessToken: from.AccessToken,
		}),
	}
	finding, cancel := context.WithTimeout(ctx, findLimit)
	defer cancel()
	desc, err := oras.Resolve(finding, repo, repo.Reference.ReferenceOrDefault(), oras.ResolveOptions{
		TargetPlatform: &ocispec.Platform{OS: "linux", Architecture: from.Architecture},
	})
	if err != nil {
		return "", fmt.Errorf("find image %s in its registry: %w", from.Image, err)
	}
	raw, err := content.FetchAll(finding, repo, desc)
	if err != nil {
		return "", fmt.Errorf("read the manifest of image %s: %w", from.Image, err)
	}
	m, err := parseManifest(raw)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", from.Image, err)
	}
	f.result.Bytes += int64(len(raw))
	if err := f.parts(ctx, m, []source{&repository{repo, from.Image}}); err != nil {
		return "", fmt.Errorf("get image %s from its registry: %w", from.Image, err)
	}
	stored, _, err := f.Store.Put(desc.Digest.String(), bytes.NewReader(raw))
	return stored, err
}

// isLoopback reports whether an engine would take plain HTTP from the host.
func isLoopback(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		host = hostPort
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// A repository is the images of one name in a registry.
type repository struct {
	repo *remote.Repository
	name string
}

func (r *repository) String() string { return r.name }

// open fetches a blob. Of registries that can't begin in the middle the
// beginning is read over.
func (r *repository) open(ctx context.Context, d descriptor, offset int64) (io.ReadCloser, error) {
	body, err := r.repo.Blobs().Fetch(ctx, ocispec.Descriptor{MediaType: d.MediaType, Digest: digest.Digest(d.Digest), Size: d.Size})
	if err != nil {
		return nil, err
	}
	if seeker, ok := body.(io.Seeker); ok {
		_, err = seeker.Seek(offset, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, body, offset)
	}
	if err != nil {
		_ = body.Close() // nothing was read of it that counts
		return nil, err
	}
	return body, nil
}
