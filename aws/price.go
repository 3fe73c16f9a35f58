package aws

import "context"

type prices struct{}

func (p *Pool) hourly(ctx context.Context, rec record) (float64, error) { return 0, nil }
