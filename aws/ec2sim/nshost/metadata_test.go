//go:build linux

package nshost_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loads/loads/aws/ec2sim"
)

func TestMetadata_AnswersAsTheRealOne(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var spot atomic.Bool
	script := `
url=http://169.254.169.254/latest
code() { curl -s -m 120 -o /dev/null -w '%{http_code}' "$@"; }
ttl='X-aws-ec2-metadata-token-ttl-seconds'
echo "without a token: $(code $url/meta-data/instance-id)"
echo "a token by GET: $(code -H "$ttl: 60" $url/api/token)"
echo "a token without a time: $(code -X PUT $url/api/token)"
echo "a token for too long: $(code -X PUT -H "$ttl: 21601" $url/api/token)"
echo "a token through a proxy: $(code -X PUT -H "$ttl: 60" -H 'X-Forwarded-For: 192.0.2.1' $url/api/token)"
echo "a token that is none: $(code -H 'X-aws-ec2-metadata-token: none' $url/meta-data/instance-id)"
token=$(curl -s -X PUT -H "$ttl: 1" $url/api/token)
until [ "$(code -H "X-aws-ec2-metadata-token: $token" $url/meta-data/)" = 401 ]; do sleep 0.1; done
echo "a token that is old: 401"
token=$(curl -s -X PUT -H "$ttl: 600" $url/api/token)
get() { curl -s -m 120 -H "X-aws-ec2-metadata-token: $token" "$url/$1"; }
missing() { echo "$1: $(code -H "X-aws-ec2-metadata-token: $token" "$url/$1")"; }
for path in instance-id instance-type ami-id ami-launch-index local-ipv4 public-ipv4 placement/region placement/availability-zone \
	tags/instance/Project security-groups; do
	echo "$path: $(get meta-data/$path)"
done
echo "list: $(get meta-data/placement/ | tr '\n' ' ')"
echo "identity: $(get dynamic/instance-identity/document | tr -d ' \n')"
[ "$(get user-data | head -c 12)" = "MIME-Version" ] && echo "user-data: as given"
missing meta-data/iam/security-credentials/
missing meta-data/spot/instance-action
echo "ASKED"
until [ "$(get meta-data/spot/instance-action | head -c 1)" = "{" ]; do sleep 0.1; done
echo "spot: $(get meta-data/spot/instance-action)"
`
	spec := l.plain(script)
	calm := spec.Metadata()
	calm.SecurityGroup, spec.LaunchIndex = []string{"loads", "other"}, 3
	spec.Metadata = func() ec2sim.Metadata {
		m := calm
		if spot.Load() {
			m.SpotAction = ec2sim.SpotAction{Action: "terminate", Time: time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC)}
		}
		return m
	}
	m := l.boot(spec)
	await(t, m, "\nASKED")
	spot.Store(true)
	identity := fmt.Sprintf(`"instanceId":%q`, spec.ID)
	for what, want := range map[string]string{
		"without a token: ": "401", "a token by GET: ": "405", "a token without a time: ": "400",
		"a token for too long: ": "400", "a token through a proxy: ": "403", "a token that is none: ": "401",
		"a token that is old: ": "401",
		"instance-id: ":         spec.ID, "instance-type: ": "m5.large", "ami-id: ": "ami-0123456789abcdef0", "ami-launch-index: ": "3",
		"local-ipv4: ": spec.PrivateIP.String(), "public-ipv4: ": spec.PublicIP.String(),
		"placement/region: ": "us-east-1", "placement/availability-zone: ": "us-east-1a",
		"tags/instance/Project: ": "loads", "security-groups: ": "loads",
		"list: ": "availability-zone availability-zone-id region", "identity: ": identity, "user-data: ": "as given",
		"meta-data/iam/security-credentials/: ": "404", "meta-data/spot/instance-action: ": "404",
		"spot: ": `{"action": "terminate", "time": "2026-01-02T04:00:00Z"}`,
	} {
		if got := said(t, m, what); got != want && (what != "identity: " || !strings.Contains(got, want)) {
			t.Errorf("%sgot %s, want %s", what, got, want)
		}
	}
}
