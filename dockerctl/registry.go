package dockerctl

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
)

// dockerHub is the key under which the docker command keeps the login of the
// registry docker.io.
const dockerHub = "https://index.docker.io/v1/"

// login returns what authorizes a pull of the image, as engines take it; empty
// when there is no login.
func (e *Engine) login(name reference.Named) (string, error) {
	auth, err := e.loginOf(name)
	if err != nil || auth.ServerAddress == "" {
		return "", err
	}
	encoded, err := authconfig.Encode(auth)
	if err != nil {
		return "", fmt.Errorf("encode the login for %s: %w", auth.ServerAddress, err)
	}
	return encoded, nil
}

// loginOf returns the login for the image's registry, of those that the docker
// command keeps; without a ServerAddress there is none. Logins kept by a
// credential helper program are not seen.
func (e *Engine) loginOf(name reference.Named) (registry.AuthConfig, error) {
	none := registry.AuthConfig{}
	path := e.opts.RegistryConfig
	if path == "" {
		path = defaultRegistryConfig()
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("read registry logins: %w", err)
	}
	var file struct {
		Auths map[string]registry.AuthConfig `json:"auths"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return none, fmt.Errorf("read registry logins in %s: %w", path, err)
	}
	host := reference.Domain(name)
	for _, key := range loginKeys(host) {
		if auth, ok := file.Auths[key]; ok {
			return plainLogin(auth, key)
		}
	}
	return none, nil
}

func defaultRegistryConfig() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return filepath.Join(dir, "config.json")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "" // no home, no logins
	}
	return filepath.Join(home, ".docker", "config.json")
}

func loginKeys(host string) []string {
	if host == "docker.io" {
		return []string{dockerHub, host}
	}
	return []string{host, "https://" + host, "https://" + host + "/"}
}

// plainLogin is a login with its user and password told apart.
func plainLogin(auth registry.AuthConfig, server string) (registry.AuthConfig, error) {
	if auth.Username == "" && auth.Auth != "" {
		raw, err := base64.StdEncoding.DecodeString(auth.Auth)
		user, password, ok := strings.Cut(strings.TrimRight(string(raw), "\x00"), ":")
		if err != nil || !ok {
			return registry.AuthConfig{}, fmt.Errorf("the login for %s is not valid: run docker login %s", server, server)
		}
		auth.Username, auth.Password = user, password
	}
	auth.Auth, auth.ServerAddress = "", server
	return auth, nil
}
