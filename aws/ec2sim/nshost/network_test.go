//go:build linux

package nshost_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/loads/loads/aws/ec2sim"
)

// admit returns rules that let all out and in what is given.
func admit(in ...ec2sim.Rule) []ec2sim.Rule {
	return append([]ec2sim.Rule{{Egress: true, Protocol: "-1", Peer: netip.MustParsePrefix("0.0.0.0/0")}}, in...)
}

func tcp(port int, from netip.Prefix) ec2sim.Rule {
	return ec2sim.Rule{Protocol: "tcp", FromPort: port, ToPort: port, Peer: from}
}

func only(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 32) }

// dialling is a script that says for each of the addresses, again and again,
// what is answered there.
func dialling(addrs ...string) string {
	script := `dial() {
	while :; do
		answer=$(timeout 0.5 bash -c "read answer </dev/tcp/${1/://}; echo \$answer" 2>/dev/null)
		if [ "$answer" ]; then echo "$1 sees $answer"; else echo "$1 is shut"; fi
		sleep 0.1
	done
}
`
	for _, a := range addrs {
		script += "dial " + a + " &\n"
	}
	return script
}

func TestRules_BetweenMachinesAndFromOutside(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	server, client := l.plain(serving(9000)+serving(9001)), l.plain("")
	server.Groups, client.Groups = []string{"sg-server"}, []string{"sg-client"}
	client.Rules = admit()
	at := func(a netip.Addr, port int) string { return fmt.Sprintf("%s:%d", a, port) }
	client.UserData = withoutDocker(dialling(at(server.PrivateIP, 9000), at(server.PublicIP, 9000), at(server.PrivateIP, 9001)))
	outside := l.host.Outside()

	fromGroup := ec2sim.Rule{Protocol: "tcp", FromPort: 9000, ToPort: 9000, Group: "sg-client"}
	server.Rules = admit(fromGroup)
	s := l.boot(server)
	eventually(t, "both listen", func() bool { return count(s, "LISTENING") == 2 })
	c := l.boot(client)

	// A group's machines are known by their private addresses.
	await(t, c, at(server.PrivateIP, 9000)+" sees "+client.PrivateIP.String())
	await(t, c, at(server.PublicIP, 9000)+" is shut")
	await(t, c, at(server.PrivateIP, 9001)+" is shut")
	if isOpen(server.PrivateIP, 9000) {
		t.Error("a rule for a group admits somebody else")
	}

	for _, step := range []struct {
		name  string
		rules []ec2sim.Rule
		open  map[string]bool // what the client and the outside reach
	}{
		{"outside only", admit(tcp(9000, only(outside))), map[string]bool{"outside": true}},
		{"the client's private address", admit(tcp(9000, only(client.PrivateIP))), map[string]bool{"private": true}},
		{"the client's public address", admit(tcp(9000, only(client.PublicIP))), map[string]bool{"public": true}},
		{
			"a range, and all protocols", admit(ec2sim.Rule{Protocol: "-1", Peer: l.host.Addresses()}),
			map[string]bool{"outside": true, "private": true, "public": true, "other": true},
		},
		{"the server's own only", admit(ec2sim.Rule{Protocol: "-1", Group: "sg-server"}), nil},
	} {
		if err := s.SetRules(step.rules); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		for _, addr := range []netip.Addr{server.PrivateIP, server.PublicIP} {
			if step.open["outside"] {
				eventually(t, step.name+": it is open to the outside", func() bool { return isOpen(addr, 9000) })
			} else if isOpen(addr, 9000) {
				t.Errorf("%s: %s is open to the outside", step.name, addr)
			}
		}
		// A machine sees whom it talks to by the address that fits the one called.
		sees := map[string]string{"private": client.PrivateIP.String(), "public": client.PublicIP.String()}
		targets := map[string]string{
			"private": at(server.PrivateIP, 9000), "public": at(server.PublicIP, 9000), "other": at(server.PrivateIP, 9001),
		}
		wanted := map[string]int{} // the second answer from now on was asked for under these rules
		for what, target := range targets {
			answer := target + " is shut"
			if step.open[what] {
				answer = target + " sees " + sees[what]
			}
			wanted[answer] = count(c, answer) + 2
		}
		for answer, n := range wanted {
			eventually(t, step.name+": "+answer, func() bool { return count(c, answer) >= n })
		}
	}
}

func TestRules_OfWhatLeaves(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	server := l.plain(serving(9000) + serving(9001))
	s := l.boot(server)
	eventually(t, "both listen", func() bool { return count(s, "LISTENING") == 2 })
	open, shut := fmt.Sprintf("%s:9000", server.PublicIP), fmt.Sprintf("%s:9001", server.PublicIP)
	client := l.plain(dialling(open, shut))
	client.Rules = []ec2sim.Rule{{Egress: true, Protocol: "tcp", FromPort: 9000, ToPort: 9000, Peer: only(server.PublicIP)}}
	c := l.boot(client)
	await(t, c, open+" sees ")
	await(t, c, shut+" is shut")
	if n := count(c, shut+" sees "); n > 0 {
		t.Errorf("what no rule lets out got out %d times", n)
	}
}

// Regions are VPCs of their own that nothing connects: a private address leads
// nowhere there, and a rule for a group admits nobody who comes by a public one.
func TestRules_BetweenRegions(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	server := l.plain(serving(9000))
	near, far := l.plain(""), l.plain("")
	far.Region, far.Zone = "eu-west-1", "eu-west-1a"
	private, public := fmt.Sprintf("%s:9000", server.PrivateIP), fmt.Sprintf("%s:9000", server.PublicIP)
	for _, client := range []*ec2sim.MachineSpec{&near, &far} {
		client.Groups, client.UserData = []string{"sg-clients"}, withoutDocker(dialling(private, public))
	}
	s := l.boot(server)
	eventually(t, "it listens", func() bool { return count(s, "LISTENING") == 1 })
	n, f := l.boot(near), l.boot(far)

	await(t, n, private+" sees "+near.PrivateIP.String())
	await(t, n, public+" sees "+near.PublicIP.String())
	await(t, f, public+" sees "+far.PublicIP.String())
	await(t, f, private+" is shut")
	if n := count(f, private+" sees "); n > 0 {
		t.Errorf("a private address of another region answered %d times", n)
	}

	byGroup := ec2sim.Rule{Protocol: "tcp", FromPort: 9000, ToPort: 9000, Group: "sg-clients"}
	if err := s.SetRules(admit(byGroup)); err != nil {
		t.Fatal(err)
	}
	for _, m := range []ec2sim.Machine{n, f} {
		again := count(m, public+" is shut") + 1
		eventually(t, "the public address is shut", func() bool { return count(m, public+" is shut") >= again })
	}
	again := count(n, private+" sees ") + 2
	eventually(t, "the private one is open", func() bool { return count(n, private+" sees ") >= again })
}
