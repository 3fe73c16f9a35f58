package aws

import (
	"context"

	"github.com/loads/loads/broker"
)

func (p *Pool) Quote(ctx context.Context, reqs []broker.MachineRequest) (broker.Quote, error) {
	return broker.Quote{}, nil
}
