package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"time"

	"github.com/loads/loads/broker"
)

// What pages load: files of the source, and in dist what make build bundles,
// which is only a note in a fresh clone.
var (
	//go:embed assets
	files embed.FS
	//go:embed dist
	bundle embed.FS
)

// An asset is one file that pages load.
type asset struct {
	kind string // content type
	tag  string // of its content
	body []byte
}

// readAssets reads all of them.
func readAssets() (map[string]asset, error) {
	assets := map[string]asset{}
	for _, folder := range []struct {
		files fs.FS
		name  string
	}{{files, "assets"}, {bundle, "dist"}} {
		entries, err := fs.ReadDir(folder.files, folder.name)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", folder.name, err)
		}
		for _, entry := range entries {
			body, err := fs.ReadFile(folder.files, path.Join(folder.name, entry.Name()))
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", entry.Name(), err)
			}
			sum := sha256.Sum256(body)
			assets[entry.Name()] = asset{
				kind: contentType(entry.Name()), tag: `"` + hex.EncodeToString(sum[:16]) + `"`, body: body,
			}
		}
	}
	return assets, nil
}

// contentType does not go by the system's own list, which differs.
func contentType(name string) string {
	switch ext := path.Ext(name); ext {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".txt":
		return "text/plain; charset=utf-8"
	default:
		return mime.TypeByExtension(ext)
	}
}

// bundled reports whether there is a script.
func (p *Pages) bundled() bool {
	_, ok := p.assets["pages.js"]
	return ok
}

func (p *Pages) asset(w http.ResponseWriter, r *http.Request) error {
	a, ok := p.assets[r.PathValue("name")]
	if !ok {
		return broker.Errorf(broker.ENotFound, "There is no file %s.", r.PathValue("name"))
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("ETag", a.tag)
	w.Header().Set("Cache-Control", "no-cache") // may be kept, and is asked for by its tag
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
	return nil
}
