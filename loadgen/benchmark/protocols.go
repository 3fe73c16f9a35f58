package benchmark

import "github.com/loads/loads/loadgen/pattern"

// Exchange is what the steps of protocols other than HTTP have in common. A
// step connects, sends, waits for what it expects and closes, in this order,
// as far as it says so. Its latency counts until the last of these is done.
type Exchange struct {
	Connection string   `json:"connection" doc:"Name of the connection in the session, by which later steps use it; the step's name if it is missing."`
	Connect    *Text    `json:"connect" doc:"Opens the connection to this address."`
	Send       *Payload `json:"send" doc:"What is sent: a pattern, or a map."`
	Expect     *Expect  `json:"expect" doc:"What is waited for: text that the answer must contain, or a map."`
	Close      bool     `json:"close" doc:"Closes the connection at the end of the step; the session's end does so anyway."`
	Timeout    Timeout  `json:"timeout" doc:"For the whole step; none is no limit."`
	Metric     Metric   `json:"metric" doc:"As of a request."`
	SLA        SLAs     `json:"sla" doc:"As of a request."`
}

func (e *Exchange) defaults() { e.Timeout = Timeout(30 * second) }

// Payload is what is sent, one of its fields.
type Payload struct {
	Text     string          `json:"text" doc:"As it stands, without variables."`
	Pattern  pattern.Pattern `json:"pattern" doc:"With variables."`
	FromVar  Reads           `json:"fromVar" doc:"A variable that holds it."`
	FromFile File            `json:"fromFile" doc:"A file that holds it."`
	Base64   string          `json:"base64" doc:"Any bytes, in base64."`
	Binary   bool            `json:"binary" doc:"A WebSocket message of bytes, not of text."`
}

// Expect is what an answer must be. The step fails when the answer is another,
// and times out while there is none.
type Expect struct {
	Until    string     `json:"until" doc:"tcp: the answer ends with this text, such as \\r\\n."`
	Length   Bytes      `json:"length" doc:"tcp: the answer has so many bytes."`
	Closed   bool       `json:"closed" doc:"tcp: the answer ends when the server closes the connection."`
	MaxSize  Bytes      `json:"maxSize" doc:"An answer that is longer fails."`
	Equals   string     `json:"equals" doc:"The answer is this text."`
	Contains string     `json:"contains" doc:"The answer contains this text."`
	Matches  Regexp     `json:"matches" doc:"The answer matches this regular expression."`
	Handle   Processors `json:"handle" doc:"What is done with the answer, as with the body of an HTTP answer."`
	Messages int        `json:"messages" doc:"webSocket: the expected message comes within so many; others before it are let pass."`
}

func (e *Expect) defaults() { e.MaxSize, e.Messages = 1<<20, 1 }

// WebSocket talks to a WebSocket server.
type WebSocket struct {
	asStep
	Exchange
	Endpoint     Text     `json:"endpoint" doc:"Name of a declared HTTP endpoint whose path is in connect; otherwise connect is ws:// or wss:// with host and path."`
	Headers      Headers  `json:"headers" doc:"Headers of the request that opens the connection."`
	Subprotocols []string `json:"subprotocols" doc:"Offered to the server."`
}

// TCP talks to any server over TCP.
type TCP struct {
	asStep
	Exchange
	TLS bool `json:"tls" doc:"Speak TLS on the connection that is opened."`
}

// GRPC calls a method of a gRPC service.
type GRPC struct {
	asStep
	Endpoint    Text     `json:"endpoint" doc:"Name of a declared HTTP endpoint, which must allow HTTP/2; the default one if it is missing."`
	Method      Text     `json:"method" doc:"package.Service/Method." need:"yes"`
	Descriptors File     `json:"descriptors" doc:"File with the descriptors of the service, as protoc --descriptor_set_out --include_imports writes it." need:"yes"`
	Message     *Payload `json:"message" doc:"The message as JSON: a pattern, or a map; the empty message if it is missing."`
	Messages    []string `json:"messages" doc:"The messages of a client's stream as JSON, with variables; instead of message."`
	Metadata    Headers  `json:"metadata" doc:"Metadata by name."`
	Expect      string   `json:"expectStatus" doc:"The status that is right, such as OK or NOT_FOUND; others make the call invalid."`
	Handler     Handle   `json:"handler" doc:"What is done with the answer as JSON, with each message of a stream."`
	Timeout     Timeout  `json:"timeout" doc:"For the call; none is no limit."`
	Sync        bool     `json:"sync" doc:"The next step waits until the call has ended."`
	Metric      Metric   `json:"metric" doc:"As of a request."`
	SLA         SLAs     `json:"sla" doc:"As of a request."`

	Stream []pattern.Pattern `json:"-"` // Messages, parsed
}

func (g *GRPC) defaults() { g.Expect, g.Timeout, g.Sync = "OK", Timeout(30*second), true }

// Handle is what is done with the answer of a call.
type Handle struct {
	Message      Processors `json:"message" doc:"With each message."`
	OnCompletion Actions    `json:"onCompletion" doc:"When the call has ended."`
}
