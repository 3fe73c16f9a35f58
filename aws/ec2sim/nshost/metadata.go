//go:build linux

package nshost

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/loads/loads/aws/ec2sim"
)

// A metadataService is what machines find at 169.254.169.254: it runs in the
// router, and tells who asks by the address.
type metadataService struct {
	server  *http.Server
	network *network
	machine func(id string) (ec2sim.MachineSpec, bool)
	key     []byte // of the tokens
	done    chan error
}

func serveMetadata(n *network, machine func(string) (ec2sim.MachineSpec, bool)) (*metadataService, error) {
	s := &metadataService{network: n, machine: machine, key: make([]byte, 32), done: make(chan error, 1)}
	if _, err := rand.Read(s.key); err != nil {
		return nil, fmt.Errorf("make a key for tokens: %w", err)
	}
	var listener net.Listener
	err := n.router.do(func() (err error) {
		listener, err = net.Listen("tcp4", metadataIP+":80")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("serve metadata: %w", err)
	}
	s.server = &http.Server{
		Handler:           http.HandlerFunc(s.answer),
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	go func() { s.done <- s.server.Serve(listener) }() // until close
	return s, nil
}

// connKey is where a request's context has its connection.
type connKey struct{}

func (s *metadataService) close() error {
	err := s.server.Close()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func (s *metadataService) answer(w http.ResponseWriter, r *http.Request) {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		refuse(w, http.StatusBadRequest)
		return
	}
	id, ok := s.network.owner(remote.Addr())
	if !ok {
		refuse(w, http.StatusNotFound)
		return
	}
	spec, ok := s.machine(id)
	if !ok || spec.Metadata == nil {
		refuse(w, http.StatusNotFound)
		return
	}
	data := spec.Metadata()
	const tokenPath, tokenHeader = "/latest/api/token", "X-Aws-Ec2-Metadata-Token"
	switch {
	case !data.Enabled:
		refuse(w, http.StatusForbidden)
	case r.URL.Path == tokenPath:
		s.giveToken(w, r, id, data.HopLimit)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		refuse(w, http.StatusMethodNotAllowed)
	case r.Header.Get(tokenHeader) == "" && data.TokenRequired,
		r.Header.Get(tokenHeader) != "" && !s.valid(r.Header.Get(tokenHeader), id):
		refuse(w, http.StatusUnauthorized)
	default:
		serveDocument(w, r.URL.Path, documents(spec, data))
	}
}

func refuse(w http.ResponseWriter, code int) { http.Error(w, http.StatusText(code), code) }

// giveToken answers with a token. The answer travels as many hops as set: by
// default only to the machine itself, not to its containers.
func (s *metadataService) giveToken(w http.ResponseWriter, r *http.Request, id string, hops int) {
	const longest = 21600
	seconds, err := strconv.Atoi(r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
	switch {
	case r.Method != http.MethodPut:
		refuse(w, http.StatusMethodNotAllowed)
		return
	case r.Header.Get("X-Forwarded-For") != "":
		refuse(w, http.StatusForbidden)
		return
	case err != nil || seconds < 1 || seconds > longest:
		refuse(w, http.StatusBadRequest)
		return
	}
	conn, ok := r.Context().Value(connKey{}).(*net.TCPConn)
	if !ok {
		refuse(w, http.StatusInternalServerError)
		return
	}
	if err := setHops(conn, max(1, hops)); err != nil {
		refuse(w, http.StatusInternalServerError)
		return
	}
	w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", strconv.Itoa(seconds))
	_, _ = w.Write([]byte(s.token(id, time.Now().Add(time.Duration(seconds)*time.Second)))) // who asked may have gone
}

func setHops(conn *net.TCPConn, hops int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, hops) })
	return errors.Join(err, set)
}

// token returns a token for the machine: its end, and a signature of both.
func (s *metadataService) token(id string, end time.Time) string {
	stamp := binary.BigEndian.AppendUint64(nil, uint64(end.UnixNano()))
	return base64.URLEncoding.EncodeToString(s.sign(stamp, id))
}

func (s *metadataService) sign(stamp []byte, id string) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write(stamp)
	mac.Write([]byte(id))
	return mac.Sum(stamp)
}

func (s *metadataService) valid(token, id string) bool {
	raw, err := base64.URLEncoding.DecodeString(token)
	if err != nil || len(raw) < 8 {
		return false
	}
	stamp := slices.Clone(raw[:8])
	end := time.Unix(0, int64(binary.BigEndian.Uint64(stamp)))
	return hmac.Equal(raw, s.sign(stamp, id)) && time.Now().Before(end)
}

// serveDocument serves what is at the path, or a list of what is below it.
func serveDocument(w http.ResponseWriter, path string, docs map[string]string) {
	path, ok := strings.CutPrefix(path, "/latest/")
	if !ok {
		refuse(w, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Server", "EC2ws")
	path = strings.TrimSuffix(path, "/")
	if text, ok := docs[path]; ok {
		_, _ = w.Write([]byte(text))
		return
	}
	var below []string
	for name := range docs {
		rest, ok := strings.CutPrefix(name, strings.TrimPrefix(path+"/", "/"))
		if !ok {
			continue
		}
		child, _, folder := strings.Cut(rest, "/")
		if folder {
			child += "/"
		}
		if !slices.Contains(below, child) {
			below = append(below, child)
		}
	}
	if len(below) == 0 {
		refuse(w, http.StatusNotFound)
		return
	}
	slices.Sort(below)
	_, _ = w.Write([]byte(strings.Join(below, "\n")))
}

// documents are all that the service has to say of a machine, by path.
func documents(spec ec2sim.MachineSpec, data ec2sim.Metadata) map[string]string {
	host := "ip-" + strings.ReplaceAll(spec.PrivateIP.String(), ".", "-") + ".ec2.internal"
	docs := map[string]string{
		"meta-data/ami-id":                         data.AMI,
		"meta-data/ami-launch-index":               strconv.Itoa(spec.LaunchIndex),
		"meta-data/instance-id":                    spec.ID,
		"meta-data/instance-type":                  spec.Type,
		"meta-data/hostname":                       host,
		"meta-data/local-hostname":                 host,
		"meta-data/local-ipv4":                     spec.PrivateIP.String(),
		"meta-data/placement/availability-zone":    spec.Zone,
		"meta-data/placement/availability-zone-id": data.AvailZoneID,
		"meta-data/placement/region":               spec.Region,
		"meta-data/security-groups":                strings.Join(data.SecurityGroup, "\n"),
		"meta-data/services/domain":                "amazonaws.com",
		"meta-data/services/partition":             "aws",
		"dynamic/instance-identity/document":       identity(spec, data),
	}
	if spec.PublicIP.IsValid() {
		docs["meta-data/public-ipv4"] = spec.PublicIP.String()
	}
	if len(spec.UserData) > 0 {
		docs["user-data"] = string(spec.UserData)
	}
	if !data.TagsHidden {
		for name, value := range maps.All(data.Tags) {
			docs["meta-data/tags/instance/"+name] = value
		}
	}
	if data.SpotAction != (ec2sim.SpotAction{}) {
		at := data.SpotAction.Time.UTC().Format(time.RFC3339)
		docs["meta-data/spot/instance-action"] = fmt.Sprintf(`{"action": %q, "time": %q}`, data.SpotAction.Action, at)
		docs["meta-data/spot/termination-time"] = at
	}
	return docs
}

func identity(spec ec2sim.MachineSpec, data ec2sim.Metadata) string {
	text, err := json.MarshalIndent(map[string]any{
		"accountId": data.Account, "architecture": spec.Arch, "availabilityZone": spec.Zone, "imageId": data.AMI,
		"instanceId": spec.ID, "instanceType": spec.Type, "pendingTime": data.LaunchTime.UTC().Format(time.RFC3339),
		"privateIp": spec.PrivateIP.String(), "region": spec.Region, "version": "2017-09-30",
		"billingProducts": nil, "devpayProductCodes": nil, "kernelId": nil, "marketplaceProductCodes": nil, "ramdiskId": nil,
	}, "", "  ")
	if err != nil {
		return "" // of strings: can't be
	}
	return string(text)
}
