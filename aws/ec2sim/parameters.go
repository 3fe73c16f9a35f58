package ec2sim

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/loads/loads/aws/ec2sim/catalog"
	"github.com/loads/loads/aws/ec2sim/wire"
)

// decode reads the parameters of a service that speaks JSON. What isn't known
// is an error, as with the others.
func (c *call) decode(into any) *wire.Error {
	decoder := json.NewDecoder(strings.NewReader(string(c.body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return wire.Errorf("SerializationException", "The parameters can't be read, or are not simulated: %v.", err)
	}
	return nil
}

func getCallerIdentity(c *call) (any, *wire.Error) {
	return struct {
		ARN     string `xml:"Arn"`
		UserID  string `xml:"UserId"`
		Account string
	}{"arn:aws:iam::" + c.account + ":user/ec2sim", "AIDASIMULATED0000000", c.account}, nil
}

// A parameter is one of the public parameters of Systems Manager.
type parameter struct {
	ARN              string
	DataType         string
	LastModifiedDate float64
	Name             string
	Type             string
	Value            string
	Version          int
}

// parametersModified is when the images were published.
const parametersModified = 1780423511

func (c *call) parameter(name string) (parameter, bool) {
	value, ok := catalog.Parameters(c.region.Name)[name]
	return parameter{
		ARN: "arn:aws:ssm:" + c.region.Name + "::parameter" + name, DataType: "text", LastModifiedDate: parametersModified,
		Name: name, Type: "String", Value: value, Version: 1,
	}, ok
}

func getParameter(c *call) (any, *wire.Error) {
	var in struct {
		Name           string
		WithDecryption bool
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	p, ok := c.parameter(in.Name)
	if !ok {
		return nil, wire.Errorf("ParameterNotFound", "")
	}
	return map[string]parameter{"Parameter": p}, nil
}

func getParameters(c *call) (any, *wire.Error) {
	var in struct {
		Names          []string
		WithDecryption bool
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if len(in.Names) == 0 || len(in.Names) > 10 {
		return nil, wire.Errorf("ValidationException", "Names has %d members; it has to have 1 to 10.", len(in.Names))
	}
	out := struct {
		Parameters        []parameter
		InvalidParameters []string
	}{[]parameter{}, []string{}}
	for _, name := range in.Names {
		if p, ok := c.parameter(name); ok {
			out.Parameters = append(out.Parameters, p)
		} else {
			out.InvalidParameters = append(out.InvalidParameters, name)
		}
	}
	return out, nil
}

func getParametersByPath(c *call) (any, *wire.Error) {
	var in struct {
		Path           string
		Recursive      bool
		WithDecryption bool
		MaxResults     int
		NextToken      string
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	path := strings.TrimSuffix(in.Path, "/") + "/"
	all := []parameter{}
	for _, name := range sortedKeys(catalog.Parameters(c.region.Name)) {
		rest, ok := strings.CutPrefix(name, path)
		if ok && (in.Recursive || !strings.Contains(rest, "/")) && name > in.NextToken {
			p, _ := c.parameter(name)
			all = append(all, p)
		}
	}
	out := map[string]any{}
	size := in.MaxResults
	if size <= 0 {
		size = 10
	}
	if len(all) > size {
		all = all[:size]
		out["NextToken"] = all[size-1].Name
	}
	out["Parameters"] = slices.Clip(all)
	return out, nil
}
