package aws

import (
	"context"
	"errors"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/loads/loads/broker"
)

// noticeAhead is how long before EC2 takes a spot machine it marks its request.
const noticeAhead = 2 * time.Minute

// marked is the status of the request of a machine that will be taken; the
// others are of machines that have been. No other status is asked for, so that
// one call is enough, however many machines there are.
const marked = "marked-for-termination"

var takenStatuses = []string{
	marked, "instance-terminated-by-price", "instance-terminated-no-capacity", "instance-terminated-capacity-oversubscribed",
	"instance-terminated-by-service",
}

// Notices asks EC2 for the spot requests of the machines' brokers. A machine
// would learn of its end from its metadata; that EC2 tells the broker the same
// needs nothing on it.
func (p *Pool) Notices(ctx context.Context, machines []broker.Machine) ([]broker.Notice, error) {
	type where struct{ region, broker string }
	wanted := map[string]bool{} // by id
	places := map[where]bool{}
	for _, m := range machines {
		if e := p.ledger.get(m.Token); e != nil {
			wanted[m.ProviderID] = true
			places[where{m.Region, e.read().Request.BrokerID}] = true
		}
	}
	var mu sync.Mutex
	var out []broker.Notice
	var faults error
	var asking sync.WaitGroup
	for at := range places {
		asking.Go(func() { // a region that does not answer keeps no other's from being told
			found, err := p.in(at.region).taken(ctx, at.broker)
			mu.Lock()
			defer mu.Unlock()
			faults = errors.Join(faults, err)
			for _, n := range found {
				if wanted[n.ProviderID] {
					out = append(out, n)
				}
			}
		})
	}
	asking.Wait()
	return out, faults
}

// taken lists a broker's machines in the region that are taken back, or have been.
func (r *region) taken(ctx context.Context, brokerID string) ([]broker.Notice, error) {
	var out []broker.Notice
	pages := ec2.NewDescribeSpotInstanceRequestsPaginator(r.ec2, &ec2.DescribeSpotInstanceRequestsInput{
		Filters: []types.Filter{filter("tag:"+tagBroker, brokerID), filter("status-code", takenStatuses...)},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return out, failed("list spot machines in "+r.name, err)
		}
		for _, req := range page.SpotInstanceRequests {
			if req.Status == nil || req.InstanceId == nil {
				continue
			}
			n := broker.Notice{ProviderID: providerID(r.name, *req.InstanceId), At: sdk.ToTime(req.Status.UpdateTime)}
			if sdk.ToString(req.Status.Code) == marked {
				n.At = n.At.Add(noticeAhead)
			}
			out = append(out, n)
		}
	}
	return out, nil
}
