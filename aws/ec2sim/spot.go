package ec2sim

import (
	"slices"
	"strconv"
	"time"

	"github.com/loads/loads/aws/ec2sim/catalog"
	"github.com/loads/loads/aws/ec2sim/wire"
)

// spotOptions are how RunInstances asks for spot machines.
type spotOptions struct {
	maxPrice float64 // dollars an hour; 0 is the price on demand
}

// A spotRequest stands beside each spot instance.
type spotRequest struct {
	resource
	instance *instance
	created  time.Time
	updated  time.Time
	price    string
	state    string // active, closed, cancelled
	status   string // fulfilled, marked-for-termination, ...
}

// The statuses of spot requests.
const (
	spotFulfilled = "fulfilled"
	spotMarked    = "marked-for-termination"
	spotTaken     = "instance-terminated-no-capacity"
	spotEnded     = "instance-terminated-by-user"
	spotRunsOn    = "request-canceled-and-instance-running"
)

func (c *call) readSpot(req *request) *wire.Error {
	market := c.params.In("InstanceMarketOptions")
	if !market.Given() {
		return nil
	}
	if kind := market.Get("MarketType"); kind != "spot" {
		return wire.Errorf("InvalidParameterValue", "Value (%s) for parameter MarketType is invalid. Only spot is simulated.", kind)
	}
	o := market.In("SpotOptions")
	if kind := o.Default("SpotInstanceType", "one-time"); kind != "one-time" {
		return wire.Errorf("UnsupportedOperation", "Spot requests of type %s are not simulated.", kind)
	}
	if what := o.Default("InstanceInterruptionBehavior", "terminate"); what != "terminate" {
		return wire.Errorf("InvalidParameterCombination", "The interruption behavior %s is not supported for one-time spot requests", what)
	}
	req.spot = &spotOptions{}
	if text := o.Get("MaxPrice"); text != "" {
		price, err := strconv.ParseFloat(text, 64)
		if err != nil || price <= 0 {
			return wire.Errorf("InvalidParameterValue", "Invalid value for MaxPrice: %s", text)
		}
		req.spot.maxPrice = price
	}
	return nil
}

// checkPrice leaves the zones in which the spot price is not too high.
func (c *call) checkPrice(req *request) *wire.Error {
	if req.spot.maxPrice == 0 {
		return nil
	}
	price := 0.0
	req.zones = slices.DeleteFunc(req.zones, func(i int) bool {
		price = req.typ.Spot(c.region.Region, c.region.Zones[i].Name, c.now).Price
		return price > req.spot.maxPrice
	})
	if len(req.zones) == 0 {
		return wire.Errorf("SpotMaxPriceTooLow", "Your Spot request price of %g is lower than the minimum required Spot request fulfillment price of %g.", req.spot.maxPrice, price)
	}
	return nil
}

func (c *call) newSpotRequest(req *request, in *instance) *spotRequest {
	price := req.spot.maxPrice
	if price == 0 {
		price = in.typ.OnDemand(c.region.Region)
	}
	sp := &spotRequest{
		// Those of spot requests are short.
		resource: c.region.newResource(c.sim.dice.id("sir")[:len("sir-")+8], "spot-instances-request", in.visible),
		instance: in, created: c.now, updated: c.now, state: "active", status: spotFulfilled,
		price: strconv.FormatFloat(price, 'f', 6, 64),
	}
	setTags(sp.tags, req.tags["spot-instances-request"])
	c.region.spots[sp.ID] = sp
	c.sim.made(kindSpot)
	return sp
}

// giveNotice tells a spot machine that it will be taken, and takes it then.
func (s *Sim) giveNotice(in *instance) {
	at := time.Now().Add(s.drill.Delays.Notice.draw(s.dice.next("notice")))
	in.notice = SpotAction{Action: "terminate", Time: at}
	in.spot.status, in.spot.updated = spotMarked, time.Now()
	s.goes(func() {
		if over, err := s.pause(at, nil); err != nil || !over {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if in.state == stateRunning || in.state == statePending {
			in.spot.status, in.spot.updated = spotTaken, time.Now()
			s.set(in, stateShutting, reasonSpotTaken)
		}
	})
}

// closeSpot ends a request whose instance is terminated.
func (s *Sim) closeSpot(sp *spotRequest) {
	if sp.state == "active" {
		s.gone(kindSpot)
		sp.state = "closed"
	}
	if sp.status != spotTaken {
		sp.status = spotEnded
	}
	sp.updated = time.Now()
}

// statusMessages say a spot request's status in a sentence.
var statusMessages = map[string]string{
	spotFulfilled: "Your Spot request is fulfilled.",
	spotMarked:    "Your Spot instance is marked for termination because there is no Spot capacity available that matches your request.",
	spotTaken:     "Your Spot instance was terminated because there is no Spot capacity available that matches your request.",
	spotEnded:     "Spot Instance terminated due to user-initiated termination.",
	spotRunsOn:    "Your Spot request is canceled, but your instance is still running.",
}

func describeSpotInstanceRequests(c *call) (any, *wire.Error) {
	type status struct {
		Code       string    `xml:"code"`
		UpdateTime wire.Time `xml:"updateTime"`
		Message    string    `xml:"message"`
	}
	type launchSpecification struct {
		ImageID string `xml:"imageId"`
		Type    string `xml:"instanceType"`
	}
	type item struct {
		ID           string              `xml:"spotInstanceRequestId"`
		Price        string              `xml:"spotPrice"`
		Type         string              `xml:"type"`
		State        string              `xml:"state"`
		Status       status              `xml:"status"`
		Launch       launchSpecification `xml:"launchSpecification"`
		InstanceID   string              `xml:"instanceId"`
		CreateTime   wire.Time           `xml:"createTime"`
		Product      string              `xml:"productDescription"`
		LaunchedZone string              `xml:"launchedAvailabilityZone"`
		Behaviour    string              `xml:"instanceInterruptionBehavior"`
		Tags         wire.Set[xmlTag]    `xml:"tagSet"`
	}
	v := func(sp *spotRequest) values {
		return sp.tagValues(table(map[string]string{
			"spot-instance-request-id": sp.ID, "state": sp.state, "status-code": sp.status, "instance-id": sp.instance.ID,
			"launched-availability-zone": sp.instance.subnet.Zone.Name, "type": "one-time",
			"launch.instance-type": sp.instance.typ.Name, "launch.image-id": sp.instance.image.ID,
		}))
	}
	found, next, err := pick(c, c.region.spots, func(sp *spotRequest) *resource { return &sp.resource }, "SpotInstanceRequestId", v, c.noResource)
	if err != nil {
		return nil, err
	}
	answer := struct {
		Requests wire.Set[item] `xml:"spotInstanceRequestSet"`
		Next     string         `xml:"nextToken,omitempty"`
	}{Next: next}
	for _, sp := range found {
		answer.Requests.Items = append(answer.Requests.Items, item{
			sp.ID, sp.price, "one-time", sp.state,
			status{sp.status, wire.Time(sp.updated), statusMessages[sp.status]},
			launchSpecification{sp.instance.image.ID, sp.instance.typ.Name},
			sp.instance.ID, wire.Time(sp.created), "Linux/UNIX", sp.instance.subnet.Zone.Name, "terminate", tagSet(sp.tags),
		})
	}
	return answer, nil
}

func cancelSpotInstanceRequests(c *call) (any, *wire.Error) {
	type item struct {
		ID    string `xml:"spotInstanceRequestId"`
		State string `xml:"state"`
	}
	ids := c.params.Strings("SpotInstanceRequestId")
	if len(ids) == 0 {
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameter SpotInstanceRequestId")
	}
	for _, id := range ids {
		if sp := c.region.spots[id]; sp == nil || !sp.isSeen(c.now) {
			return nil, c.noResource(id)
		}
	}
	if err := c.commit(); err != nil {
		return nil, err
	}
	var answer struct {
		Requests wire.Set[item] `xml:"spotInstanceRequestSet"`
	}
	for _, id := range ids {
		sp := c.region.spots[id]
		if sp.state == "active" {
			sp.state, sp.status, sp.updated = "cancelled", spotRunsOn, c.now
			c.sim.gone(kindSpot)
		}
		answer.Requests.Items = append(answer.Requests.Items, item{id, sp.state})
	}
	return answer, nil
}

func describeSpotPriceHistory(c *call) (any, *wire.Error) {
	type item struct {
		Type    string    `xml:"instanceType"`
		Product string    `xml:"productDescription"`
		Price   string    `xml:"spotPrice"`
		Time    wire.Time `xml:"timestamp"`
		Zone    string    `xml:"availabilityZone"`
	}
	filters, err := c.filters()
	if err != nil {
		return nil, err
	}
	from, err := c.time("StartTime", c.now)
	if err != nil {
		return nil, err
	}
	to, err := c.time("EndTime", c.now)
	if err != nil {
		return nil, err
	}
	oneZone := c.params.Get("AvailabilityZone")
	products := c.params.Strings("ProductDescription")
	names := c.params.Strings("InstanceType")
	var all []item
	for _, t := range catalog.Types() {
		if len(names) > 0 && !slices.Contains(names, t.Name) {
			continue
		}
		for _, zone := range c.region.Zones {
			if !t.Offered(c.region.Region, zone.Name) || (oneZone != "" && oneZone != zone.Name) {
				continue
			}
			v := table(map[string]string{
				"availability-zone": zone.Name, "instance-type": t.Name, "product-description": "Linux/UNIX",
			})
			ok, err := admits(filters, v)
			if err != nil {
				return nil, err
			}
			if !ok || (len(products) > 0 && !slices.ContainsFunc(products, isLinux)) {
				continue
			}
			for _, p := range t.SpotHistory(c.region.Region, zone.Name, from, to) {
				all = append(all, item{t.Name, "Linux/UNIX", strconv.FormatFloat(p.Price, 'f', 6, 64), wire.Time(p.Since), zone.Name})
			}
		}
	}
	// The newest come first.
	key := func(i item) string {
		age := int64(1<<40) - time.Time(i.Time).Unix()
		return strconv.FormatInt(age, 10) + i.Type + i.Zone
	}
	items, next, err := page(c, all, key, pageSizes{1, 1000})
	return struct {
		Prices wire.Set[item] `xml:"spotPriceHistorySet"`
		Next   string         `xml:"nextToken"`
	}{wire.SetOf(items...), next}, err
}

// isLinux reports whether a product is Linux, the only one there is.
func isLinux(product string) bool {
	return matches(product, "Linux/UNIX") || product == "Linux/UNIX (Amazon VPC)"
}

// time reads a time.
func (c *call) time(name string, otherwise time.Time) (time.Time, *wire.Error) {
	text := c.params.Get(name)
	if text == "" {
		return otherwise, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, wire.Errorf("InvalidParameterValue", "Value (%s) for parameter %s is invalid. It is not a time.", text, name)
	}
	return t, nil
}
