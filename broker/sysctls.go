package broker

import (
	"slices"
	"strconv"
	"strings"

	"github.com/loads/loads/strategies"
)

// sysctls are the kernel's limits in the network namespace of a plan's container,
// for many connections from one place. Those of the machine itself, which aws/boot
// raises, don't reach into it. They are the same on all machines: a plan is to run
// on a laptop as it does elsewhere. The ports that the container publishes are not
// for its own calls to take.
func sysctls(ports []strategies.Port) map[string]string {
	set := map[string]string{
		"net.ipv4.ip_local_port_range": "1024 65535",
		"net.ipv4.tcp_tw_reuse":        "1",
		"net.ipv4.tcp_fin_timeout":     "15",
		"net.ipv4.tcp_max_syn_backlog": "65535",
		"net.core.somaxconn":           "65535",
	}
	var reserved []int
	for _, p := range ports {
		reserved = append(reserved, p.Container)
	}
	slices.Sort(reserved)
	var list []string
	for _, port := range slices.Compact(reserved) {
		list = append(list, strconv.Itoa(port))
	}
	if len(list) > 0 {
		set["net.ipv4.ip_local_reserved_ports"] = strings.Join(list, ",")
	}
	return set
}
