package catalog

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
)

// An Image is what a machine can be started from.
type Image struct {
	ID      string
	Name    string
	Arch    string
	Owner   string // account
	Created string // as EC2 writes it
	RootGiB int    // smallest size of the root volume
	Docker  bool   // whether Docker is on it
}

// RootDevice is the name of the disk that every image is started from.
const RootDevice = "/dev/xvda"

const (
	ecsOwner    = "591542846629"
	amazonOwner = "137112412989"
	ecsVersion  = "2023.0.20260602"
)

// Images are the images of a region.
func Images(region string) []Image {
	var all []Image
	for _, arch := range []string{X86, ARM} {
		all = append(all,
			image(region, Image{
				Name: fmt.Sprintf("al2023-ami-ecs-hvm-%s-kernel-6.1-%s", ecsVersion, arch),
				Arch: arch, Owner: ecsOwner, Created: "2026-06-02T18:05:11.000Z", RootGiB: 30, Docker: true,
			}),
			image(region, Image{
				Name: fmt.Sprintf("al2023-ami-2023.7.20260601.0-kernel-6.1-%s", arch),
				Arch: arch, Owner: amazonOwner, Created: "2026-06-01T23:41:02.000Z", RootGiB: 8,
			}),
		)
	}
	return all
}

func image(region string, i Image) Image {
	h := fnv.New64a()
	fmt.Fprint(h, region, i.Name)
	i.ID = fmt.Sprintf("ami-0%016x", h.Sum64())
	return i
}

// FindImage finds an image of a region by its id.
func FindImage(region, id string) (Image, bool) {
	for _, i := range Images(region) {
		if i.ID == id {
			return i, true
		}
	}
	return Image{}, false
}

// Parameters are the public parameters of Systems Manager in a region: which
// image is the newest of its kind.
func Parameters(region string) map[string]string {
	all := map[string]string{}
	for _, i := range Images(region) {
		if !i.Docker {
			all["/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-6.1-"+i.Arch] = i.ID
			all["/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-"+i.Arch] = i.ID
			continue
		}
		path := "/aws/service/ecs/optimized-ami/amazon-linux-2023/"
		if i.Arch == ARM {
			path += "arm64/"
		}
		path += "recommended"
		about, err := json.Marshal(map[string]any{
			"ecs_agent_version": "1.99.1", "ecs_runtime_version": "Docker version 25.0.13",
			"image_id": i.ID, "image_name": i.Name, "image_version": ecsVersion,
			"os": "Amazon Linux 2023", "schema_version": 1, "source_image_name": "al2023-ami-minimal-2023",
		})
		if err != nil {
			continue // strings and numbers can always be marshalled
		}
		all[path], all[path+"/image_id"], all[path+"/image_name"] = string(about), i.ID, i.Name
	}
	return all
}
