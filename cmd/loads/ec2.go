package main

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/loads/loads/aws"
	"github.com/loads/loads/broker"
)

// ec2Options say whether machines are rented from EC2, and how.
type ec2Options struct {
	on      bool
	region  string
	subnets []string
	image   string
	private bool
	from    []string
	users   []string
	lease   time.Duration
	idle    time.Duration
	standby []string
	boot    time.Duration
}

func (o *ec2Options) flags(f *pflag.FlagSet) {
	f.BoolVar(&o.on, "ec2", false, "rent machines from EC2, by the AWS settings and credentials of the environment")
	f.StringVar(&o.region, "ec2-region", "", "region for what no plan has a say in (default $AWS_REGION, or that of the AWS profile)")
	f.StringArrayVar(&o.subnets, "ec2-subnet", nil, "id of a subnet to take machines in, at most one a zone (repeatable; default: the default ones)")
	f.StringVar(&o.image, "ec2-image", "", "id of the AMI (default: the newest ECS-optimized Amazon Linux 2023)")
	f.BoolVar(&o.private, "ec2-private", false, "talk to machines by their private addresses, from inside their network")
	f.StringArrayVar(&o.from, "ec2-from", nil, "address, or range, that machines see this broker come from (repeatable; default: found out)")
	f.StringArrayVar(&o.users, "monitor-from", nil, "address, or range, of people who may reach InfluxDB and Grafana of monitor steps on EC2 (repeatable; default: this broker only)")
	f.DurationVar(&o.lease, "ec2-lease", 10*time.Minute, "how long a machine lives on without this broker")
	f.DurationVar(&o.boot, "ec2-boot-limit", 5*time.Minute, "how long a machine may take until its Docker answers, before another is taken in its place")
}

// keepFlags are those on machines that no run has, which need a broker that
// stays.
func (o *ec2Options) keepFlags(f *pflag.FlagSet) {
	f.DurationVar(&o.idle, "ec2-idle", 10*time.Minute, "how long a machine is kept for the next run; 0 ends machines with their run")
	f.StringArrayVar(&o.standby, "ec2-standby", nil, "REGION/TYPE=N: keep N machines of a type ready at all times (repeatable)")
}

// leastIdle is what makes a difference.
const leastIdle = 10 * time.Second

// leastLease leaves time for two renewals that fail.
const leastLease = 30 * time.Second

// leastBoot is less than any machine takes that boots.
const leastBoot = 5 * time.Second

// complete checks the flags.
func (o *ec2Options) complete() error {
	var faults []string
	if o.on && o.lease < leastLease {
		faults = append(faults, fmt.Sprintf("--ec2-lease is %v; give %v or more", o.lease, leastLease))
	}
	if o.on && o.boot < leastBoot {
		faults = append(faults, fmt.Sprintf("--ec2-boot-limit is %v; give %v or more", o.boot, leastBoot))
	}
	if o.on && o.idle != 0 && o.idle < leastIdle {
		faults = append(faults, fmt.Sprintf("--ec2-idle is %v; give %v or more, or 0 to keep no machine", o.idle, leastIdle))
	}
	if _, err := prefixes("--ec2-from", o.from); err != nil {
		faults = append(faults, err.Error())
	}
	if _, err := prefixes("--monitor-from", o.users); err != nil {
		faults = append(faults, err.Error())
	}
	if _, err := o.standbys(); err != nil {
		faults = append(faults, err.Error())
	}
	if len(faults) > 0 {
		return broker.Errorf(broker.EInvalid, "%s", strings.Join(faults, "; "))
	}
	return nil
}

// standbys reads --ec2-standby.
func (o *ec2Options) standbys() ([]aws.Standby, error) {
	var out []aws.Standby
	for _, text := range o.standby {
		place, count, _ := strings.Cut(text, "=")
		region, kind, _ := strings.Cut(place, "/")
		n, err := strconv.Atoi(count)
		again := slices.ContainsFunc(out, func(s aws.Standby) bool { return s.Region == region && s.Type == kind })
		if err != nil || n < 1 || n > mostStandby || region == "" || kind == "" || strings.Contains(kind, "/") || again {
			return nil, broker.Errorf(broker.EInvalid,
				"--ec2-standby is %q; give a region, a type and a number up to %d, each type once in a region, such as us-east-1/c7i.large=2", text, mostStandby)
		}
		out = append(out, aws.Standby{Region: region, Type: kind, Count: n})
	}
	return out, nil
}

// mostStandby bounds what a slip of the keyboard costs.
const mostStandby = 100

func prefixes(flag string, texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, broker.Errorf(broker.EInvalid, "%s is %q; give an address such as 203.0.113.7, or a range such as 203.0.113.0/24", flag, text)
		}
		out = append(out, prefix.Masked())
	}
	return out, nil
}

// pool opens the pool, which keeps its own in a folder of the broker's.
func (o *ec2Options) pool(ctx context.Context, d daemonOptions, dial broker.Dialer) (*aws.Pool, error) {
	from, err := prefixes("--ec2-from", o.from)
	if err != nil {
		return nil, err
	}
	users, err := prefixes("--monitor-from", o.users)
	if err != nil {
		return nil, err
	}
	standby, err := o.standbys()
	if err != nil {
		return nil, err
	}
	return aws.Open(ctx, aws.Config{
		Dir: filepath.Join(d.dir, "ec2"), Dial: dial, Log: d.log,
		Region: o.region, Subnets: o.subnets, Image: o.image, Private: o.private, From: from, Users: users, Lease: o.lease, BootLimit: o.boot,
		Idle: o.idle, Standby: standby,
	})
}

// args are the flags again, for a broker that is started by this process.
func (o *ec2Options) args() []string {
	if !o.on {
		return nil
	}
	args := []string{"--ec2", "--ec2-region", o.region, "--ec2-image", o.image, "--ec2-lease", o.lease.String(), "--ec2-boot-limit", o.boot.String(), "--ec2-idle", "0"}
	if o.private {
		args = append(args, "--ec2-private")
	}
	for _, s := range o.subnets {
		args = append(args, "--ec2-subnet", s)
	}
	for _, s := range o.from {
		args = append(args, "--ec2-from", s)
	}
	for _, s := range o.users {
		args = append(args, "--monitor-from", s)
	}
	return args
}
