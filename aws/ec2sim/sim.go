package ec2sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/loads/loads/aws/ec2sim/catalog"
	"github.com/loads/loads/aws/ec2sim/s3"
	"github.com/loads/loads/aws/ec2sim/wire"
)

// A Key is an access key's secret, and the account it is of.
type Key struct {
	Secret  string
	Account string // twelve digits
}

// Config is what a Sim is made of.
type Config struct {
	// Host runs the machines. The Sim closes it.
	Host Host
	// Drill is how the cloud behaves.
	Drill Drill
	// Keys are the access keys that are let in, by their ids.
	Keys map[string]Key
	// AdminToken opens what is under /_sim/; "" opens it to nobody.
	AdminToken string
	// Dir is a folder on the disk that objects of S3 are kept on, in files
	// without names.
	Dir string
	// Log is told what goes wrong inside; nil for nobody.
	Log *slog.Logger
}

// A Sim is a cloud: the handler of all its services in all regions. It may be
// used concurrently.
type Sim struct {
	host  Host
	keys  map[string]Key
	token string
	log   *slog.Logger
	store *s3.Store

	ctx  context.Context // ends when the Sim is closed
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	drill     Drill
	dice      *draws
	faults    []*armed
	lastFault int
	regions   map[string]*region // by account and name
	addresses *addresses
	calls     map[callKey]int
	tally     map[string]*Tally
}

// New makes a cloud in which nothing exists yet.
func New(c Config) (*Sim, error) {
	store, err := s3.Open(c.Dir)
	if err != nil {
		return nil, err
	}
	addresses, err := newAddresses(c.Host.Addresses())
	if err != nil {
		return nil, err
	}
	s := &Sim{
		host: c.Host, keys: c.Keys, token: c.AdminToken, log: c.Log, store: store,
		drill: c.Drill, dice: newDraws(c.Drill.Seed), addresses: addresses,
		regions: map[string]*region{}, calls: map[callKey]int{}, tally: map[string]*Tally{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for _, f := range c.Drill.Faults {
		s.arm(f)
	}
	return s, nil
}

// Close ends all machines, without ceremony, and waits for that.
func (s *Sim) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.wg.Wait()
	return s.host.Close()
}

// goes runs something in the background that Close waits for. It is called
// with the lock held.
func (s *Sim) goes(f func()) {
	if !s.closed {
		s.wg.Go(f)
	}
}

// A call is one request that is being answered.
type call struct {
	sim     *Sim
	service string
	action  string
	account string
	region  *region
	params  *wire.Params // of EC2 and STS
	body    []byte       // of the others
	now     time.Time
	dryRun  bool
}

type handler func(*call) (any, *wire.Error)

// afterwards makes an answer when the lock is no longer held: by asking a
// machine.
type afterwards func() any

// services are the actions of each service but S3.
var services = map[string]map[string]handler{
	"ec2":           ec2Actions,
	"sts":           {"GetCallerIdentity": getCallerIdentity},
	"ssm":           {"GetParameter": getParameter, "GetParameters": getParameters, "GetParametersByPath": getParametersByPath},
	"pricing":       {"GetProducts": getProducts},
	"servicequotas": {"GetServiceQuota": getServiceQuota, "ListServiceQuotas": listServiceQuotas, "GetAWSDefaultServiceQuota": getServiceQuota},
}

// maxBody is the largest request that is not of S3.
const maxBody = 1 << 20

// ServeHTTP answers a request to any service of any region, which the
// signature tells apart.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, adminPath) {
		s.serveAdmin(w, r)
		return
	}
	requestID := uuid.NewString()
	signature := wire.ReadSignature(r)
	if signature == nil {
		wire.WriteError(w, unsignedProtocol(r), requestID, wire.NotSigned(unsignedProtocol(r)))
		return
	}
	protocol := wire.ProtocolOf(signature.Service)
	var body []byte
	if protocol != wire.S3 {
		var err error
		if body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
			wire.WriteError(w, protocol, requestID, wire.Errorf("RequestEntityTooLarge", "The request can't be read: %v.", err).With(413))
			return
		}
	}
	key, found := s.keys[signature.AccessKey]
	if err := signature.Check(r, body, key.Secret, found, time.Now()); err != nil {
		s.count(signature.Service, signature.Region, "", err.Code)
		wire.WriteError(w, protocol, requestID, err)
		return
	}
	c := &call{sim: s, service: signature.Service, account: key.Account, body: body}
	if protocol == wire.S3 {
		s.serveS3(w, r, c, signature.Region, requestID)
		return
	}
	result, lost, fault := s.answer(c, r, signature.Region)
	switch {
	case lost:
		panic(http.ErrAbortHandler)
	case fault != nil:
		wire.WriteError(w, protocol, requestID, fault)
	default:
		if later, ok := result.(afterwards); ok {
			result = later()
		}
		if err := wire.WriteAnswer(w, protocol, requestID, c.action, result); err != nil {
			s.log.Error("an answer could not be given", "err", err)
			wire.WriteError(w, protocol, requestID, errInternal())
		}
	}
}

// answer does what a request asks for. Lost says that the client shall not
// hear of it.
func (s *Sim) answer(c *call, r *http.Request, regionName string) (result any, lost bool, fault *wire.Error) {
	if err := c.read(r); err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.counted(c, regionName, lost, fault) }()
	c.now = time.Now()
	do, known := services[c.service][c.action]
	switch {
	case s.closed:
		return nil, false, wire.Errorf("Unavailable", "The server is shutting down.").With(503)
	case services[c.service] == nil:
		return nil, false, wire.Errorf("UnknownService", "The service %s is not simulated.", c.service)
	case !known:
		return nil, false, unknownAction(c)
	}
	if c.region = s.region(c.account, regionName); c.region == nil {
		return nil, false, wire.Errorf("UnknownRegion", "The region %s is not simulated.", regionName)
	}
	o := c.occasion()
	if s.met(Throttled, o) != nil {
		return nil, false, throttled(c.service)
	}
	if c.service == "ec2" {
		if err := c.takeRequest(); err != nil {
			return nil, false, err
		}
	}
	if result, fault = do(c); fault == nil {
		fault = c.commit() // what only reads has not done it
	}
	if fault != nil {
		return nil, false, fault
	}
	if s.met(ErrorAfter, o) != nil {
		return nil, false, errInternal()
	}
	return result, s.met(AnswerLost, o) != nil, nil
}

// read finds the action and its parameters.
func (c *call) read(r *http.Request) *wire.Error {
	if wire.ProtocolOf(c.service) == wire.JSON {
		_, c.action, _ = strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		return nil
	}
	values := r.URL.Query()
	form, err := url.ParseQuery(string(bytes.TrimSpace(c.body)))
	if err != nil {
		return wire.Errorf("MalformedQueryString", "The parameters can't be read: %v.", err)
	}
	for name, list := range form {
		values[name] = list
	}
	c.params = wire.NewParams(values)
	c.action = c.params.Get("Action")
	c.params.Get("Version")
	var fault *wire.Error
	if c.service == "ec2" {
		c.dryRun, fault = c.params.Bool("DryRun", false)
	}
	return fault
}

// commit is called by every action when it has read all its parameters and
// found them good, before it changes anything.
func (c *call) commit() *wire.Error {
	if c.params == nil {
		return nil
	}
	if unread := c.params.Unread(); len(unread) > 0 {
		return wire.Errorf("UnknownParameter", "The parameter %s is not recognized, or not simulated.", unread[0])
	}
	if c.dryRun {
		return wire.Errorf("DryRunOperation", "Request would have succeeded, but DryRun flag is set.").With(412)
	}
	return nil
}

// occasion is what faults of calls are compared with.
func (c *call) occasion() occasion {
	o := occasion{action: c.action, region: c.region.Name}
	if c.action == "RunInstances" {
		o.zone, o.typ, o.tags = c.params.Get("Placement.AvailabilityZone"), c.params.Get("InstanceType"), map[string]string{}
		for _, spec := range c.params.Structs("TagSpecification") {
			if spec.Get("ResourceType") == "instance" {
				for _, tag := range spec.Structs("Tag") {
					o.tags[tag.Get("Key")] = tag.Get("Value")
				}
			}
		}
	}
	return o
}

func unsignedProtocol(r *http.Request) wire.Protocol {
	switch {
	case r.Header.Get("X-Amz-Target") != "":
		return wire.JSON
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"), r.URL.Query().Has("Action"):
		return wire.EC2
	}
	return wire.S3
}

func unknownAction(c *call) *wire.Error {
	if wire.ProtocolOf(c.service) == wire.JSON {
		return wire.Errorf("UnknownOperationException", "The action %s is not known, or not simulated.", c.action)
	}
	return wire.Errorf("InvalidAction", "The action %s is not valid for this web service.", c.action)
}

func throttled(service string) *wire.Error {
	switch wire.ProtocolOf(service) {
	case wire.EC2:
		return errLimit()
	case wire.S3:
		return wire.Errorf("SlowDown", "Please reduce your request rate.").With(503)
	}
	if service == "sts" {
		return wire.Errorf("Throttling", "Rate exceeded")
	}
	return wire.Errorf("ThrottlingException", "Rate exceeded")
}

func errInternal() *wire.Error {
	return wire.Errorf("InternalError", "An internal error has occurred").With(http.StatusInternalServerError)
}

// serveS3 lets the store answer, unless a fault meets the call.
func (s *Sim) serveS3(w http.ResponseWriter, r *http.Request, c *call, regionName, requestID string) {
	c.action = s3.Action(r)
	s.mu.Lock()
	o := occasion{action: c.action, region: regionName}
	refuse := s.met(Throttled, o) != nil
	fail := !refuse && s.met(ErrorAfter, o) != nil
	lose := !refuse && !fail && s.met(AnswerLost, o) != nil
	s.mu.Unlock()
	if refuse {
		s.count("s3", regionName, c.action, "SlowDown")
		wire.WriteError(w, wire.S3, requestID, throttled("s3"))
		return
	}
	answer := &s3Answer{ResponseWriter: w, drop: fail || lose}
	s.store.Serve(answer, r, regionName, requestID)
	switch {
	case lose:
		s.count("s3", regionName, c.action, codeLost)
		panic(http.ErrAbortHandler)
	case fail:
		s.count("s3", regionName, c.action, "InternalError")
		wire.WriteError(w, wire.S3, requestID, errInternal())
	default:
		s.count("s3", regionName, c.action, answer.code())
	}
}

// An s3Answer notes the status of an answer, and may keep it from the client.
type s3Answer struct {
	http.ResponseWriter
	drop   bool
	status int
	header http.Header
}

func (a *s3Answer) Header() http.Header {
	if !a.drop {
		return a.ResponseWriter.Header()
	}
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

func (a *s3Answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	if !a.drop {
		a.ResponseWriter.WriteHeader(status)
	}
}

func (a *s3Answer) Write(p []byte) (int, error) {
	if a.drop {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}

func (a *s3Answer) code() string {
	if a.status < 400 {
		return codeOK
	}
	return fmt.Sprint(a.status)
}

// pause waits until a time, and reports whether it came to that: not if it was
// woken before, or the Sim is being closed, which gives an error.
func (s *Sim) pause(until time.Time, wake <-chan struct{}) (bool, error) {
	var alarm <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-s.ctx.Done():
		return false, errClosed
	case <-wake:
		return false, nil
	case <-alarm:
		return true, nil
	}
}

var errClosed = errors.New("the simulator is closed")

// region finds an account's part of a region; nil if there is no such region.
func (s *Sim) region(account, name string) *region {
	key := account + "/" + name
	if r := s.regions[key]; r != nil {
		return r
	}
	about, ok := catalog.FindRegion(name)
	if !ok {
		return nil
	}
	r := newRegion(s, account, about)
	s.regions[key] = r
	return r
}
