package boot_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUserData_OfSeveralGivesEachItsOwnKey runs the user data of three machines on
// those that the metadata service gives these numbers, once it answers at all.
func TestUserData_OfSeveralGivesEachItsOwnKey(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		number string
		key    int // -1 is none
	}{{"0", 0}, {"2", 2}, {"3", -1}} {
		t.Run("number "+row.number, func(t *testing.T) {
			t.Parallel()
			p := params(t, "m-0", "m-1", "m-2")
			m := newMachine(t)
			m.write("record/user-data", string(unzip(t, mustUserData(t, p))))
			m.start()
			m.serveMetadata(map[string]string{"/latest/meta-data/ami-launch-index": row.number})
			status := m.do("bash /record/user-data")
			cert, key := m.read("upper/etc/loads/server.pem"), m.read("upper/etc/loads/server-key.pem")
			if row.key < 0 {
				if status == 0 || cert != "" || key != "" {
					t.Errorf("status %d and certificate %q, want a failure and none", status, cert)
				}
				return
			}
			pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("m-%d.loads.internal", row.key); pair.Leaf.DNSNames[0] != want || status != 0 {
				t.Errorf("status %d and a certificate for %v, want 0 and %s", status, pair.Leaf.DNSNames, want)
			}
		})
	}
}

// serveMetadata has the machine find documents at the metadata service's address,
// with a token only, and after the service has failed once.
func (m *machine) serveMetadata(docs map[string]string) {
	m.t.Helper()
	if m.do("ip addr add 169.254.169.254/32 dev lo") != 0 {
		m.t.Fatal("the machine has no address for the metadata service")
	}
	var listener net.Listener
	err := inNetworkOf(m.pid, func() (err error) {
		listener, err = net.Listen("tcp4", "169.254.169.254:80")
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	var asked atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const token = "a token=="
		doc, known := docs[r.URL.Path]
		switch {
		case asked.Add(1) == 1:
			http.Error(w, "later", http.StatusServiceUnavailable)
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" && r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") == "60":
			_, _ = w.Write([]byte(token))
		case r.Header.Get("X-aws-ec2-metadata-token") != token || r.Method != http.MethodGet:
			http.Error(w, strings.ToLower(r.Method), http.StatusUnauthorized)
		case !known:
			http.NotFound(w, r)
		default:
			_, _ = w.Write([]byte(doc))
		}
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	m.t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
}

// inNetworkOf calls f in the network of a process. The thread comes back from
// there, and doesn't end: processes that it has started would end with it.
func inNetworkOf(pid int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	return errors.Join(f(), unix.Setns(int(own.Fd()), unix.CLONE_NEWNET))
}
