package benchmark

import (
	"github.com/loads/loads/loadgen/jsonpath"
	"github.com/loads/loads/loadgen/pattern"
)

// Endpoints are the HTTP servers of a benchmark.
type Endpoints []Endpoint

// Endpoint is a server, and how connections to it are used.
type Endpoint struct {
	Name       string      `json:"name" doc:"By which requests name it in endpoint."`
	Protocol   string      `json:"protocol" doc:"http or https; also as part of host."`
	Host       string      `json:"host" doc:"Name or address, also with protocol and port: https://shop.test:8443." need:"yes"`
	Port       int         `json:"port" doc:"80 or 443 if it is missing, also as part of host."`
	Addresses  []string    `json:"addresses" doc:"To which to connect instead of host, with or without a port; connections are divided among them."`
	Shared     Connections `json:"sharedConnections" doc:"Connections of all machines together, or a map with core, max and buffer."`
	Strategy   Strategy    `json:"connectionStrategy" doc:"Which sessions share connections, and for how long."`
	Timeout    Timeout     `json:"requestTimeout" doc:"Of requests that have no own; none is no limit."`
	Handshake  Timeout     `json:"sslHandshakeTimeout" doc:"Of setting up TLS."`
	HTTP1      bool        `json:"allowHttp1x" doc:"Whether HTTP/1.1 may be used."`
	HTTP2      bool        `json:"allowHttp2" doc:"Whether HTTP/2 may be used."`
	Streams    int         `json:"maxHttp2Streams" doc:"Most requests under way on one connection of HTTP/2."`
	Pipelining int         `json:"pipeliningLimit" doc:"Only 1: requests are not pipelined."`
	Direct     bool        `json:"directHttp2" doc:"Speak HTTP/2 at once on connections without TLS."`
	Cache      bool        `json:"useHttpCache" doc:"Keep answers in the session as a browser does. Off unless set."`
	RawBytes   bool        `json:"rawBytesHandlers" doc:"Not used: bytes are always counted."`
	KeyManager *Keys       `json:"keyManager" doc:"The client's certificate."`
	Trust      *Keys       `json:"trustManager" doc:"Which servers' certificates are accepted; any if it is missing."`

	Line, Column int `json:"-"`
}

func (e *Endpoint) defaults() {
	e.Shared = Connections{Core: 1, Max: 1}
	e.Strategy, e.Timeout, e.Handshake = SharedPool, Timeout(30*second), Timeout(10*second)
	e.HTTP1, e.HTTP2, e.Streams, e.Pipelining, e.RawBytes = true, true, 100, 1, true
}

// Authority is host:port, as requests name the endpoint.
func (e Endpoint) Authority() string { return joinHostPort(e.Host, e.Port) }

// Connections says how many connections of all machines together an endpoint
// has.
type Connections struct {
	Core      int      `json:"core" doc:"Connections made before the run."`
	Max       int      `json:"max" doc:"Most connections."`
	Buffer    int      `json:"buffer" doc:"How many more than in use are kept open, up to max."`
	KeepAlive Duration `json:"keepAliveTime" doc:"After which a connection that was not used is closed; 0 is never."`
}

// Strategy says which sessions share connections.
type Strategy string

// The values of connectionStrategy.
const (
	SharedPool    Strategy = "SHARED_POOL"     // borrowed for each request
	SessionPools  Strategy = "SESSION_POOLS"   // kept by the session until its end
	OpenOnRequest Strategy = "OPEN_ON_REQUEST" // opened by the session, closed at its end
	AlwaysNew     Strategy = "ALWAYS_NEW"      // opened for each request
)

func (Strategy) words() []string {
	return []string{string(SharedPool), string(SessionPools), string(OpenOnRequest), string(AlwaysNew)}
}

// Keys are certificates and keys, as files.
type Keys struct {
	StoreType string `json:"storeType" doc:"JKS, PFX or PEM; which one it is is seen from the file."`
	StoreFile File   `json:"storeFile" doc:"A key store."`
	Password  string `json:"password" doc:"Of the key store."`
	Alias     string `json:"alias" doc:"Of the key in a key store of the type JKS; the first if it is missing."`
	CertFile  File   `json:"certFile" doc:"A certificate, PEM."`
	KeyFile   File   `json:"keyFile" doc:"A key, PEM."`
}

// HTTPRequest sends a request and handles its answer.
type HTTPRequest struct {
	asStep
	Method       string        `json:"method" doc:"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, TRACE or CONNECT; shorter as GET: /path."`
	Path         Text          `json:"path" doc:"Path and query, or a full address of a declared endpoint."`
	Authority    Text          `json:"authority" doc:"host:port of a declared endpoint."`
	Endpoint     Text          `json:"endpoint" doc:"Name of a declared endpoint; instead of authority."`
	Headers      Headers       `json:"headers" doc:"Headers by name: patterns, or maps with fromVar."`
	Body         *Body         `json:"body" doc:"The body: a pattern, or a map."`
	Sync         bool          `json:"sync" doc:"The next step waits until the answer has been handled."`
	Timeout      *Timeout      `json:"timeout" doc:"For this request; the endpoint's if it is missing."`
	Metric       Metric        `json:"metric" doc:"Name under which it is counted, the sequence's if it is missing; or a list of RE -> name, of which the first that matches counts."`
	Compression  *Compression  `json:"compression" doc:"Which encoding is asked for, such as gzip."`
	SLA          SLAs          `json:"sla" doc:"Limits for the metric in this phase."`
	Compensation *Compensation `json:"compensation" doc:"In a phase of the kind always: times that count from a timetable."`
	Handler      *HTTPHandler  `json:"handler" doc:"What is done with the answer."`
}

func (r *HTTPRequest) defaults() { r.Sync = true }

// methods are those that can be written as the key of the path.
var methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"}

// Header is a header of a request.
type Header struct {
	Name  string
	Value Text
}

// Headers are sent in their order.
type Headers []Header

// Body is the body of a request, one of its fields.
type Body struct {
	Text     string          `json:"text" doc:"The body as it stands, without variables."`
	Pattern  pattern.Pattern `json:"pattern" doc:"The body, with variables."`
	FromVar  Reads           `json:"fromVar" doc:"A variable that holds it."`
	FromFile File            `json:"fromFile" doc:"A file that holds it."`
	Form     []Input         `json:"form" doc:"The fields of a form; sets Content-Type."`
}

// Input is a field of a form. Its name and value are URL-encoded when sent.
type Input struct {
	Name    string          `json:"name" doc:"Of the field." need:"yes"`
	Value   string          `json:"value" doc:"As it stands."`
	FromVar Reads           `json:"fromVar" doc:"A variable that holds it."`
	Pattern pattern.Pattern `json:"pattern" doc:"A text with variables."`
}

// Compression says how the server may compress its answer.
type Compression struct {
	Encoding string `json:"encoding" doc:"For example gzip." need:"yes"`
	Type     string `json:"type" doc:"CONTENT_ENCODING or TRANSFER_ENCODING."`
}

// Compensation measures requests of a closed phase from a timetable.
type Compensation struct {
	TargetRate Rate   `json:"targetRate" doc:"Users a second that the timetable has." need:"yes"`
	Metric     Metric `json:"metric" doc:"Name of the second metric; compensated- and the first if it is missing."`
}

// HTTPHandler says what is done with an answer.
type HTTPHandler struct {
	Status         StatusHandlers  `json:"status" doc:"With its status."`
	Header         HeaderHandlers  `json:"header" doc:"With its headers."`
	Body           Processors      `json:"body" doc:"With its body."`
	OnCompletion   Actions         `json:"onCompletion" doc:"When it is complete."`
	RawBytes       RawBytes        `json:"rawBytes" doc:"With the bytes of the request and the answer."`
	AutoRangeCheck *bool           `json:"autoRangeCheck" doc:"As in ergonomics, for this request."`
	StopOnInvalid  *bool           `json:"stopOnInvalid" doc:"As in ergonomics, for this request."`
	FollowRedirect *FollowRedirect `json:"followRedirect" doc:"As in ergonomics, for this request."`
}

// RawBytes records how many bytes a request took.
type RawBytes struct {
	Sizes *SizeRecorder `json:"transferSizeRecorder" doc:"Counts bytes sent and received."`
}

// SizeRecorder counts bytes sent and received.
type SizeRecorder struct {
	Key string `json:"key" doc:"Name under which they are counted." need:"yes"`
}

// The handlers of a status.
type (
	// RangeCheck makes the request invalid unless the status is within.
	RangeCheck struct {
		asStatus
		Min int `json:"min" doc:"The lowest that is right."`
		Max int `json:"max" doc:"The highest that is right."`
	}
	// StatusCounter counts answers in a variable.
	StatusCounter struct {
		asStatus
		Var    Writes `json:"var" doc:"The variable." need:"yes"`
		Expect int    `json:"expectStatus" doc:"The status that counts; all if it is missing."`
		Init   *int   `json:"init" doc:"First value of the variable."`
		Add    *int   `json:"add" doc:"What to add."`
		Set    *int   `json:"set" doc:"What to set it to; instead of add."`
	}
	// StatusStore keeps the status in a variable.
	StatusStore struct {
		asStatus
		ToVar Writes `json:"toVar" doc:"The variable." need:"yes"`
	}
	// StatusAction runs actions by the status.
	StatusAction struct {
		asStatus
		Cases []StatusCase
	}
	// StatusMultiplex handles answers by the status.
	StatusMultiplex struct {
		asStatus
		Cases []StatusCase
	}
	// StatusStats counts answers by their status.
	StatusStats struct{ asStatus }
)

// StatusCase is what is done for some statuses: Actions of a StatusAction,
// Handlers of a StatusMultiplex.
type StatusCase struct {
	Ranges   []RangeCheck // none of them is all other statuses
	Actions  Actions
	Handlers StatusHandlers
}

// The handlers of headers.
type (
	// HeaderFilter gives the values of the headers that match to a processor.
	HeaderFilter struct {
		asHeader
		Header    TextMatch  `json:"header" doc:"Which headers, by name." need:"yes"`
		Processor Processors `json:"processor" doc:"What is done with their values." need:"yes"`
	}
	// HeaderConditional handles headers if a condition holds.
	HeaderConditional struct {
		asHeader
		Conditions
		Handler HeaderHandlers `json:"handler" doc:"What is done then." need:"yes"`
	}
	// HeaderCount counts headers by their names.
	HeaderCount struct{ asHeader }
	// HeaderTime records the number in a header as a time.
	HeaderTime struct {
		asHeader
		Header string `json:"header" doc:"Its name." need:"yes"`
		Unit   string `json:"unit" doc:"ns, us, ms or s; ms if it is missing."`
		Metric string `json:"metric" doc:"Name of the metric; the header's if it is missing."`
	}
	// HeaderLogInvalid logs the headers of invalid answers.
	HeaderLogInvalid struct{ asHeader }
)

// The processors of bodies and other values. Actions are processors, too, which
// do nothing with the value.
type (
	// JSONQuery takes values out of a JSON document. It is a step as well, with
	// fromVar.
	JSONQuery struct {
		asStep
		asProcessor
		FromVar   Reads         `json:"fromVar" doc:"The document, in a step."`
		Query     jsonpath.Path `json:"query" doc:"Which values, as .a[].b." need:"yes"`
		ToVar     Writes        `json:"toVar" doc:"The variable for the first value."`
		ToArray   *ArrayTarget  `json:"toArray" doc:"The variable for all values, with its size: ids[10]."`
		Format    DataFormat    `json:"format" doc:"How variables keep values."`
		Processor Processors    `json:"processor" doc:"What is done with each value."`
		Delete    bool          `json:"delete" doc:"Give the document without the values to the processor."`
		Replace   Transformers  `json:"replace" doc:"Give the document with values replaced to the processor."`
		Unquote   bool          `json:"unquote" doc:"Take quotes and escapes from strings."`
	}
	// Store keeps a value in a variable.
	Store struct {
		asProcessor
		ToVar  Writes     `json:"toVar" doc:"The variable." need:"yes"`
		Format DataFormat `json:"format" doc:"How it keeps the value."`
	}
	// StoreInt keeps a number in a variable.
	StoreInt struct {
		asProcessor
		ToVar    Writes `json:"toVar" doc:"The variable." need:"yes"`
		Override bool   `json:"override" doc:"A later value replaces it."`
	}
	// Array keeps values in a variable that is an array.
	Array struct {
		asProcessor
		ToVar   Writes     `json:"toVar" doc:"The variable." need:"yes"`
		MaxSize int        `json:"maxSize" doc:"Its size." need:"yes"`
		Format  DataFormat `json:"format" doc:"How it keeps values."`
		Silent  bool       `json:"silent" doc:"Values that have no room are left out without a word."`
	}
	// Collection keeps any number of values in a variable.
	Collection struct {
		asProcessor
		ToVar  Writes     `json:"toVar" doc:"The variable." need:"yes"`
		Format DataFormat `json:"format" doc:"How it keeps values."`
	}
	// CountValues counts values in a variable.
	CountValues struct {
		asProcessor
		ToVar Writes `json:"toVar" doc:"The variable." need:"yes"`
	}
	// Queue starts an instance of a sequence for each value.
	Queue struct {
		asProcessor
		Var          Writes      `json:"var" doc:"The variable with the values, an array." need:"yes"`
		Sequence     SequenceRef `json:"sequence" doc:"The sequence." need:"yes"`
		MaxSize      int         `json:"maxSize" doc:"Most values." need:"yes"`
		Concurrency  int         `json:"concurrency" doc:"Most instances at once." need:"yes"`
		Format       DataFormat  `json:"format" doc:"How values are kept."`
		OnCompletion Actions     `json:"onCompletion" doc:"When the last instance has ended."`
	}
	// Gunzip gives the document without its compression to a processor.
	Gunzip struct {
		asProcessor
		EncodingVar Reads      `json:"encodingVar" doc:"A variable with the value of Content-Encoding."`
		Processor   Processors `json:"processor" doc:"What is done with it." need:"yes"`
	}
	// ConditionalProcessor passes values on if a condition holds.
	ConditionalProcessor struct {
		asProcessor
		Conditions
		Processor Processors `json:"processor" doc:"What is done then." need:"yes"`
	}
	// CloseConnection closes the connection of the request.
	CloseConnection struct{ asProcessor }
	// LogInvalid logs the bodies of invalid answers.
	LogInvalid struct{ asProcessor }
	// ParseHTML takes values out of a page.
	ParseHTML struct {
		asProcessor
		OnResource *EmbeddedResource `json:"onEmbeddedResource" doc:"For each image, script and style sheet."`
		OnTag      *TagAttribute     `json:"onTagAttribute" doc:"For an attribute of each tag of a name."`
	}
)

func (j *JSONQuery) defaults() { j.Unquote = true }

// EmbeddedResource says what is done with addresses in a page.
type EmbeddedResource struct {
	IgnoreExternal bool           `json:"ignoreExternal" doc:"Leave out those of servers that are no endpoints."`
	Processor      Processors     `json:"processor" doc:"What is done with each address."`
	Fetch          *FetchResource `json:"fetchResource" doc:"Fetch them."`
}

func (e *EmbeddedResource) defaults() { e.IgnoreExternal = true }

// FetchResource fetches what a page shows.
type FetchResource struct {
	MaxResources int     `json:"maxResources" doc:"Most of a page." need:"yes"`
	Concurrency  int     `json:"concurrency" doc:"Most at once."`
	Metric       Metric  `json:"metric" doc:"As of a request."`
	OnCompletion Actions `json:"onCompletion" doc:"When all have been fetched."`
}

func (f *FetchResource) defaults() { f.Concurrency = 8 }

// TagAttribute takes an attribute out of tags.
type TagAttribute struct {
	Tag       string       `json:"tag" doc:"Name of the tag." need:"yes"`
	Attribute string       `json:"attribute" doc:"Name of the attribute." need:"yes"`
	ToVar     Writes       `json:"toVar" doc:"The variable for the first value."`
	ToArray   *ArrayTarget `json:"toArray" doc:"The variable for all values, with its size."`
	Format    DataFormat   `json:"format" doc:"How variables keep values."`
	Processor Processors   `json:"processor" doc:"What is done with each value."`
}
