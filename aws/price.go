package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/pricing"
	pricetypes "github.com/aws/aws-sdk-go-v2/service/pricing/types"

	"github.com/loads/loads/broker"
)

// What comes to a machine's own price, in USD an hour. These are not asked for:
// a disk's price is what gp3 costs where it costs most, rounded up, and an
// address costs the same in all regions.
const (
	diskGiBHour   = 0.16 / 730
	addressHour   = 0.005
	defaultDiskGB = 30 // of the ECS-optimized images
)

// priceList is where the price list of all regions is served.
const priceList = "us-east-1"

// onDemand returns what a machine of the type costs on demand, in USD an hour.
func (p *Pool) onDemand(ctx context.Context, region, name string) (float64, error) {
	return p.prices.get(ctx, region+" "+name, func() (float64, error) {
		at := p.sdk.Copy()
		at.Region = priceList
		term := func(field, value string) pricetypes.Filter {
			return pricetypes.Filter{Type: pricetypes.FilterTypeTermMatch, Field: sdk.String(field), Value: sdk.String(value)}
		}
		out, err := pricing.NewFromConfig(at).GetProducts(ctx, &pricing.GetProductsInput{
			ServiceCode: sdk.String("AmazonEC2"),
			Filters: []pricetypes.Filter{
				term("regionCode", region), term("instanceType", name), term("operatingSystem", "Linux"),
				term("tenancy", "Shared"), term("preInstalledSw", "NA"), term("capacitystatus", "Used"),
			},
		})
		if err != nil {
			return 0, failed("look up the price of "+name, err)
		}
		for _, item := range out.PriceList {
			if usd, ok := hourlyOf(item); ok {
				return usd, nil
			}
		}
		return 0, broker.Errorf(broker.ENotFound, "the price list has no price for %s in %s", name, region)
	})
}

// hourlyOf reads the price of an hour on demand from an item of the price list.
func hourlyOf(item string) (float64, bool) {
	var product struct {
		Terms struct {
			OnDemand map[string]struct {
				PriceDimensions map[string]struct {
					Unit         string
					PricePerUnit map[string]string
				}
			}
		}
	}
	if json.Unmarshal([]byte(item), &product) != nil {
		return 0, false
	}
	for _, term := range product.Terms.OnDemand {
		for _, d := range term.PriceDimensions {
			usd, err := strconv.ParseFloat(d.PricePerUnit["USD"], 64)
			if err == nil && usd > 0 && strings.EqualFold(d.Unit, "Hrs") {
				return usd, true
			}
		}
	}
	return 0, false
}

// spotRange returns the lowest and the highest price of spot machines of the
// type in the last day, in USD an hour; zeroes if there was none.
func (r *region) spotRange(ctx context.Context, name string) (low, high float64, err error) {
	pages := ec2.NewDescribeSpotPriceHistoryPaginator(r.ec2, &ec2.DescribeSpotPriceHistoryInput{
		InstanceTypes: []types.InstanceType{types.InstanceType(name)}, ProductDescriptions: []string{"Linux/UNIX"},
		StartTime: sdk.Time(time.Now().Add(-24 * time.Hour)),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, 0, failed("look up spot prices of "+name, err)
		}
		for _, h := range page.SpotPriceHistory {
			usd, err := strconv.ParseFloat(sdk.ToString(h.SpotPrice), 64)
			if err != nil {
				return 0, 0, fmt.Errorf("read the spot price of %s: %w", name, err)
			}
			if low == 0 || usd < low {
				low = usd
			}
			high = max(high, usd)
		}
	}
	return low, high, nil
}

// besides is what a machine's disk and address cost, in USD an hour.
func besides(req broker.MachineRequest) float64 {
	gb := req.VolumeGB
	if gb == 0 {
		gb = defaultDiskGB
	}
	return float64(gb)*diskGiBHour + addressHour
}

// hourly is the most that the machine costs an hour: a spot machine never costs
// more than one on demand.
func (p *Pool) hourly(ctx context.Context, rec record) (float64, error) {
	usd, err := p.onDemand(ctx, rec.Region, rec.At.Type)
	if err != nil {
		return 0, err
	}
	return usd + besides(rec.Request), nil
}
