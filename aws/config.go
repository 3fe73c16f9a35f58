package aws

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"

	"github.com/loads/loads/aws/trust"
	"github.com/loads/loads/broker"
)

// Name is the name of the pool of machines from EC2.
const Name = "ec2"

// Defaults of Config.
const (
	defaultLease     = 10 * time.Minute
	defaultBootLimit = 5 * time.Minute
)

// callLimit bounds one HTTP request to AWS, callTries how often it is made.
const (
	callLimit = time.Minute
	callTries = 8
)

// Config is what a Pool is made of.
type Config struct {
	// SDK says where AWS is and who asks; nil is what the SDK finds by itself:
	// environment, shared files, the machine's role.
	SDK *sdk.Config
	// Dir is the folder for what must outlive the process: certificates, and
	// what was launched. It belongs to one process at a time.
	Dir string
	// Dial opens the Docker engines of machines.
	Dial broker.Dialer
	Log  *slog.Logger

	// Region is where the pool looks besides the regions of plans, and whose
	// API tells which regions there are; empty is the SDK's choice.
	Region string
	// Subnets are the ids of those to use, in whatever region and zone they
	// are; none is the default subnets of each region's default VPC.
	Subnets []string
	// Image is the id of the AMI; empty is the newest ECS-optimized Amazon
	// Linux 2023 of the type's architecture. A request's own comes first.
	Image string
	// Private has the broker talk to the machines' private addresses, which it
	// must then have a route to.
	Private bool
	// From are the addresses that machines see the broker come from; none is
	// to find out.
	From []netip.Prefix
	// Users are the addresses of people who may reach the private ports of
	// machines, besides the broker.
	Users []netip.Prefix

	// Lease is how long a machine lives without renewal; 0 is 10 minutes.
	Lease time.Duration
	// Idle is how long a machine that is given back is kept for the next run; 0
	// ends machines with their run. Tend sees to those that are kept.
	Idle time.Duration
	// Standby are the machines that are kept ready at all times.
	Standby []Standby
	// BootLimit is how long a machine may take from its launch until its
	// Docker answers; 0 is 5 minutes.
	BootLimit time.Duration
}

// A Pool lends machines from EC2.
type Pool struct {
	cfg     Config
	sdk     sdk.Config
	log     *slog.Logger
	trust   *trust.Trust
	ledger  *ledger
	calls   *calls
	journal *journal
	opened  time.Time
	dials   chan struct{} // a place for each engine that is being asked at once
	// prices are those on demand, in USD an hour, by region and type.
	prices known[float64]

	// ownFroms is what was found out for Config.From: it may change while a
	// broker runs.
	ownFroms known[[]netip.Prefix]

	images lastImages // of runs, for machines that stand by

	mu      sync.Mutex
	regions map[string]*region
	scanned bool // all regions have been looked at since the start
}

// Open makes the pool. No machine is touched, and AWS is not asked yet; but the
// credentials are looked for.
func Open(ctx context.Context, c Config) (*Pool, error) {
	c.Lease, c.BootLimit = cmp.Or(c.Lease, defaultLease), cmp.Or(c.BootLimit, defaultBootLimit)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	p := &Pool{
		cfg: c, log: c.Log.With("component", "aws"), regions: map[string]*region{},
		dials: make(chan struct{}, 64), opened: time.Now(),
	}
	if err := p.loadSDK(ctx); err != nil {
		return nil, err
	}
	var err error
	if p.ledger, err = openLedger(filepath.Join(c.Dir, "machines")); err != nil {
		return nil, err
	}
	if err := p.ledger.forget(time.Now()); err != nil {
		return nil, err
	}
	if p.calls, err = openCalls(filepath.Join(c.Dir, "calls")); err != nil {
		return nil, err
	}
	if err := p.tidy(); err != nil {
		return nil, err
	}
	if p.journal, err = openJournal(c.Dir); err != nil {
		return nil, err
	}
	if p.trust, err = trust.Start(filepath.Join(c.Dir, "trust")); err != nil {
		return nil, err
	}
	if err := p.trust.Forget(p.ledger.authorities()); err != nil {
		return nil, err
	}
	return p, nil
}

// Name returns "ec2".
func (p *Pool) Name() string { return Name }

// loadSDK completes what the SDK is told.
func (p *Pool) loadSDK(ctx context.Context) error {
	if p.cfg.SDK != nil {
		p.sdk = p.cfg.SDK.Copy()
	} else {
		loaded, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return &broker.Error{Code: broker.EInvalid, Err: err, Message: "The settings for AWS can't be read; see docs/running-on-aws.md for what is needed"}
		}
		p.sdk = loaded
	}
	p.sdk.Region = cmp.Or(p.cfg.Region, p.sdk.Region)
	if p.sdk.Region == "" {
		return broker.Errorf(broker.EInvalid, "No AWS region is set; give one with --ec2-region, or set AWS_REGION.")
	}
	if p.sdk.Credentials == nil {
		return broker.Errorf(broker.EInvalid, "There are no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.")
	}
	if p.sdk.HTTPClient == nil {
		p.sdk.HTTPClient = &http.Client{}
	}
	if b, ok := p.sdk.HTTPClient.(*awshttp.BuildableClient); ok {
		p.sdk.HTTPClient = b.WithTimeout(callLimit)
	}
	p.sdk.Retryer = newRetryer
	p.sdk.Logger = logging.Nop{} // what it has to say is in its errors
	return nil
}

// newRetryer repeats calls that failed by chance, for about a minute. What has
// no room now is no such failure, though its status is 500.
func newRetryer() sdk.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff = callTries, 20*time.Second
		o.RateLimiter = ratelimit.None // a thousand machines may be refused at once
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) sdk.Ternary {
			if kindOf(err) == refusedFull {
				return sdk.FalseTernary
			}
			return sdk.UnknownTernary
		})}, o.Retryables...)
	})
}

// in returns the region by its name.
func (p *Pool) in(name string) *region {
	name = cmp.Or(name, p.sdk.Region)
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.regions[name]
	if r == nil {
		r = newRegion(p.sdk, name)
		p.regions[name] = r
	}
	return r
}

// providerID is a machine's id among all pools.
func providerID(region, instance string) string {
	return fmt.Sprintf("%s/%s/%s", Name, region, instance)
}
