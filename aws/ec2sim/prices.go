package ec2sim

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/loads/loads/aws/ec2sim/catalog"
	"github.com/loads/loads/aws/ec2sim/wire"
)

// getProducts lists what EC2 costs on demand. The real service has all else too,
// and is found in a few regions only.
func getProducts(c *call) (any, *wire.Error) {
	var in struct {
		ServiceCode   string
		FormatVersion string
		MaxResults    int
		NextToken     string
		Filters       []struct{ Type, Field, Value string }
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if c.region.Name != "us-east-1" && c.region.Name != "eu-central-1" && c.region.Name != "ap-south-1" {
		return nil, wire.Errorf("UnknownEndpoint", "The price list is not served in %s; ask in us-east-1, eu-central-1 or ap-south-1.", c.region.Name)
	}
	if in.ServiceCode != "AmazonEC2" {
		return nil, wire.Errorf("InvalidParameterException", "The service %s is not simulated.", in.ServiceCode)
	}
	from := 0
	if in.NextToken != "" {
		var err error
		if from, err = strconv.Atoi(in.NextToken); err != nil {
			return nil, wire.Errorf("InvalidNextTokenException", "The token %s is not valid.", in.NextToken)
		}
	}
	var found []string
	for _, r := range catalog.Regions() {
		for _, t := range catalog.Types() {
			p := product(r, t)
			fits := true
			for _, f := range in.Filters {
				if f.Type != "TERM_MATCH" {
					return nil, wire.Errorf("InvalidParameterException", "The filter type %s is not simulated; use TERM_MATCH.", f.Type)
				}
				value, known := p.Product.Attributes[f.Field]
				if !known {
					value = map[string]string{"productFamily": p.Product.Family, "ServiceCode": p.Service, "sku": p.Product.SKU}[f.Field]
				}
				fits = fits && value == f.Value
			}
			if fits {
				data, err := json.Marshal(p)
				if err != nil {
					return nil, wire.Errorf("InternalErrorException", "%v", err).With(500)
				}
				found = append(found, string(data))
			}
		}
	}
	size := in.MaxResults
	if size <= 0 || size > 100 {
		size = 100
	}
	out := map[string]any{"FormatVersion": "aws_v1"}
	found = found[min(max(from, 0), len(found)):]
	if len(found) > size {
		found = found[:size]
		out["NextToken"] = strconv.Itoa(from + size)
	}
	out["PriceList"] = append([]string{}, found...)
	return out, nil
}

// A priceItem is an item of the price list.
type priceItem struct {
	Product struct {
		Family     string            `json:"productFamily"`
		Attributes map[string]string `json:"attributes"`
		SKU        string            `json:"sku"`
	} `json:"product"`
	Service string                          `json:"serviceCode"`
	Terms   map[string]map[string]priceTerm `json:"terms"`
	Version string                          `json:"version"`
	Date    string                          `json:"publicationDate"`
}

type priceTerm struct {
	Dimensions map[string]priceDimension `json:"priceDimensions"`
	SKU        string                    `json:"sku"`
	From       string                    `json:"effectiveDate"`
	Code       string                    `json:"offerTermCode"`
	Attributes map[string]string         `json:"termAttributes"`
}

type priceDimension struct {
	Unit        string            `json:"unit"`
	Description string            `json:"description"`
	RateCode    string            `json:"rateCode"`
	Begin       string            `json:"beginRange"`
	End         string            `json:"endRange"`
	Price       map[string]string `json:"pricePerUnit"`
}

func product(r catalog.Region, t catalog.Type) priceItem {
	const term, dimension = "JRTCKXETXF", "6YS6EN2CT7" // on demand, by the hour
	sku := fmt.Sprintf("SIM%s%s", r.Zones[0].ID, t.Name)
	price := strconv.FormatFloat(t.OnDemand(r), 'f', 10, 64)
	item := priceItem{Service: "AmazonEC2", Version: "20260701000000", Date: "2026-07-01T00:00:00Z"}
	item.Product.Family, item.Product.SKU = "Compute Instance", sku
	item.Product.Attributes = map[string]string{
		"servicecode": "AmazonEC2", "instanceType": t.Name, "location": r.Location, "locationType": "AWS Region", "regionCode": r.Name,
		"operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used", "licenseModel": "No License required",
		"vcpu": strconv.Itoa(t.VCPUs), "memory": fmt.Sprintf("%g GiB", float64(t.Memory)/(1<<30)), "operation": "RunInstances",
		"usagetype": "BoxUsage:" + t.Name, "marketoption": "OnDemand", "currentGeneration": "Yes",
	}
	item.Terms = map[string]map[string]priceTerm{"OnDemand": {sku + "." + term: {
		SKU: sku, From: "2026-07-01T00:00:00Z", Code: term, Attributes: map[string]string{},
		Dimensions: map[string]priceDimension{sku + "." + term + "." + dimension: {
			Unit: "Hrs", RateCode: sku + "." + term + "." + dimension, Begin: "0", End: "Inf",
			Description: fmt.Sprintf("$%s per On Demand Linux %s Instance Hour", price, t.Name),
			Price:       map[string]string{"USD": price},
		}},
	}}}
	return item
}
