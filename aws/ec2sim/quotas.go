package ec2sim

import (
	"strconv"

	"github.com/loads/loads/aws/ec2sim/wire"
)

// The codes of the quotas that are simulated.
const (
	quotaOnDemand = "L-1216C47A"
	quotaSpot     = "L-34B43A08"
	quotaRules    = "L-0EA8095F"
)

type quota struct {
	ServiceCode string
	ServiceName string
	QuotaArn    string
	QuotaCode   string
	QuotaName   string
	Value       float64
	Unit        string
	Adjustable  bool
	GlobalQuota bool
}

// quotas are those of a service; none are of one that is not simulated.
func (c *call) quotas(service string) []quota {
	limits := c.sim.drill.Limits
	if service == "vpc" {
		return []quota{c.quota(service, "Amazon Virtual Private Cloud (Amazon VPC)", quotaRules, "Inbound or outbound rules per security group", maxRules)}
	}
	if service != "ec2" {
		return nil
	}
	one := func(code, name string, value int) quota {
		return c.quota(service, "Amazon Elastic Compute Cloud (Amazon EC2)", code, name, value)
	}
	return []quota{
		one(quotaOnDemand, "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", limits.OnDemandVCPUs),
		one(quotaSpot, "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", limits.SpotVCPUs),
	}
}

func (c *call) quota(service, serviceName, code, name string, value int) quota {
	return quota{
		ServiceCode: service, ServiceName: serviceName, QuotaCode: code, QuotaName: name,
		QuotaArn: "arn:aws:servicequotas:" + c.region.Name + ":" + c.account + ":" + service + "/" + code,
		Value:    float64(value), Unit: "None", Adjustable: true,
	}
}

func noQuotas(service string) *wire.Error {
	return wire.Errorf("NoSuchResourceException", "The request failed because the specified service %s does not exist, or is not simulated.", service)
}

func getServiceQuota(c *call) (any, *wire.Error) {
	var in struct{ ServiceCode, QuotaCode string }
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	all := c.quotas(in.ServiceCode)
	if all == nil {
		return nil, noQuotas(in.ServiceCode)
	}
	for _, q := range all {
		if q.QuotaCode == in.QuotaCode {
			return map[string]quota{"Quota": q}, nil
		}
	}
	return nil, wire.Errorf("NoSuchResourceException", "The request failed because the specified quota %s does not exist, or is not simulated.", in.QuotaCode)
}

func listServiceQuotas(c *call) (any, *wire.Error) {
	var in struct {
		ServiceCode string
		MaxResults  int
		NextToken   string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	all, from := c.quotas(in.ServiceCode), 0
	if all == nil {
		return nil, noQuotas(in.ServiceCode)
	}
	if in.NextToken != "" {
		var err error
		if from, err = strconv.Atoi(in.NextToken); err != nil || from < 0 || from > len(all) {
			return nil, wire.Errorf("InvalidPaginationTokenException", "Invalid input was provided.")
		}
	}
	out := map[string]any{}
	rest := all[from:]
	if in.MaxResults > 0 && len(rest) > in.MaxResults {
		rest = rest[:in.MaxResults]
		out["NextToken"] = strconv.Itoa(from + in.MaxResults)
	}
	out["Quotas"] = rest
	return out, nil
}
