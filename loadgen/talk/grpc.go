package talk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/loads/loads/loadgen/h1"
)

// maxMessage is the largest message of an answer.
const maxMessage = 64 << 20

// Services are those of a file of descriptors.
type Services struct {
	files *protoregistry.Files
	types *dynamicpb.Types // of messages within Any
}

// ReadServices reads a file of descriptors, as protoc --descriptor_set_out
// writes it.
func ReadServices(data []byte) (*Services, error) {
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(data, set); err != nil {
		return nil, fmt.Errorf("read descriptors: %w", err)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, fmt.Errorf("read descriptors: %w", err)
	}
	return &Services{files, dynamicpb.NewTypes(files)}, nil
}

// Method is a method of a service.
type Method struct {
	descriptor protoreflect.MethodDescriptor
	path       string
	types      *dynamicpb.Types
}

// Method finds a method by package.Service/Method.
func (s *Services) Method(name string) (*Method, error) {
	service, method := "", ""
	for i := len(name) - 1; i >= 0 && service == ""; i-- {
		if name[i] == '/' {
			service, method = name[:i], name[i+1:]
		}
	}
	if len(service) > 0 && service[0] == '/' {
		service = service[1:]
	}
	found, err := s.files.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil, fmt.Errorf("the descriptors have no service %q", service)
	}
	d, ok := found.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, fmt.Errorf("%q is no service", service)
	}
	m := d.Methods().ByName(protoreflect.Name(method))
	if m == nil {
		return nil, fmt.Errorf("the service %s has no method %q", service, method)
	}
	return &Method{m, "/" + service + "/" + method, s.types}, nil
}

// ClientStreams reports whether a call may have several messages.
func (m *Method) ClientStreams() bool { return m.descriptor.IsStreamingClient() }

// Check reports why a call can't have the message, JSON.
func (m *Method) Check(message []byte) error {
	_, err := m.input(message)
	return err
}

// input makes a message of JSON.
func (m *Method) input(text []byte) (proto.Message, error) {
	message := dynamicpb.NewMessage(m.descriptor.Input())
	err := (protojson.UnmarshalOptions{Resolver: m.types}).Unmarshal(text, message)
	return message, err
}

// GRPC is a connection over which gRPC calls go; several at once.
type GRPC struct {
	conn *grpc.ClientConn
	lack *atomic.Pointer[h1.Error] // of this machine, for which the last attempt to connect failed
}

// The pauses between attempts to connect again.
const (
	firstPause = 50 * time.Millisecond
	mostPause  = time.Second
)

// NewGRPC returns a connection for host:port, which is made by the first call and
// goes to address; a nil cfg is no TLS.
func NewGRPC(authority string, address string, cfg *tls.Config, handshake time.Duration) (*GRPC, error) {
	secure := insecure.NewCredentials()
	if cfg != nil {
		cfg = cfg.Clone()
		cfg.ServerName = "" // the library takes it from the authority
		secure = credentials.NewTLS(cfg)
	}
	if handshake == 0 {
		handshake = time.Hour // none
	}
	lack := new(atomic.Pointer[h1.Error])
	pauses := backoff.Config{BaseDelay: firstPause, Multiplier: backoff.DefaultConfig.Multiplier, Jitter: backoff.DefaultConfig.Jitter, MaxDelay: mostPause}
	conn, err := grpc.NewClient("passthrough:///"+authority,
		grpc.WithTransportCredentials(secure), grpc.WithAuthority(authority), grpc.WithStatsHandler(noting{}),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0), grpc.WithUserAgent("loads"),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: pauses, MinConnectTimeout: handshake}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			lack.Store(nil)
			if err != nil {
				if bad := h1.NewError("connect", err, h1.Unreachable); bad.Kind == h1.Exhausted {
					lack.Store(bad)
				}
			}
			return c, err
		}))
	if err != nil {
		return nil, fmt.Errorf("prepare gRPC with %s: %w", authority, err)
	}
	return &GRPC{conn, lack}, nil
}

// Close ends the connection and all calls.
func (g *GRPC) Close() { _ = g.conn.Close() }

// Call is what is called, and with what.
type Call struct {
	Method   *Method
	Messages [][]byte // JSON
	Metadata []string // names and values in turn
}

// Do carries out a call, hands each answer as JSON to answer, and returns the
// status that the server gave.
func (g *GRPC) Do(ctx context.Context, call *Call, note *Note, answer func([]byte)) (codes.Code, error) {
	said, begun := &said{note: note}, time.Now()
	ctx, end := context.WithCancel(context.WithValue(metadata.AppendToOutgoingContext(ctx, call.Metadata...), noting{}, said))
	defer end()
	err := g.exchange(ctx, call, answer)
	var bad *h1.Error
	lack := g.lack.Load()
	switch code := status.Code(err); {
	case errors.As(err, &bad):
		return 0, err
	case code == codes.DeadlineExceeded && isOver(ctx, begun):
		return 0, h1.ErrTimeout
	case said.trailer.Load():
		return code, nil
	case err == nil:
		return codes.OK, nil
	case code == codes.DeadlineExceeded:
		return 0, h1.ErrTimeout
	case code == codes.Canceled:
		return 0, h1.ErrCancelled
	case code == codes.Unavailable && lack != nil:
		return 0, lack
	case code == codes.Unavailable:
		return 0, &h1.Error{Kind: h1.Reset, Err: fmt.Errorf("call %s: %s", call.Method.path, status.Convert(err).Message())}
	default:
		return 0, &h1.Error{Kind: h1.Malformed, Err: fmt.Errorf("call %s: %w", call.Method.path, err)}
	}
}

// isOver reports whether the time that a call had is over. The server, which was
// told of it, may notice a little earlier.
func isOver(ctx context.Context, begun time.Time) bool {
	const early = 10 // a tenth
	end, ok := ctx.Deadline()
	return ok && time.Until(end) <= end.Sub(begun)/early
}

// exchange sends the messages and receives the answers.
func (g *GRPC) exchange(ctx context.Context, call *Call, answer func([]byte)) error {
	d := call.Method.descriptor
	stream, err := g.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: d.IsStreamingServer(), ClientStreams: d.IsStreamingClient()}, call.Method.path)
	if err != nil {
		return err
	}
	for _, text := range call.Messages {
		message, err := call.Method.input(text)
		if err != nil {
			return &h1.Error{Kind: h1.Internal, Err: fmt.Errorf("make the message of %s: %w", call.Method.path, err)}
		}
		if err := stream.SendMsg(message); errors.Is(err, io.EOF) {
			break // the status says why
		} else if err != nil {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		message := dynamicpb.NewMessage(d.Output())
		if err := stream.RecvMsg(message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		text, err := protojson.MarshalOptions{Resolver: call.Method.types}.Marshal(message)
		if err != nil {
			return &h1.Error{Kind: h1.Malformed, Err: fmt.Errorf("write the answer of %s as JSON: %w", call.Method.path, err)}
		}
		if answer != nil {
			answer(text)
		}
		if !d.IsStreamingServer() {
			return nil // the library has waited for the status
		}
	}
}

// HTTPStatus is the status of HTTP that means the same as one of gRPC, so that
// reports know which are errors.
func HTTPStatus(c codes.Code) int {
	const clientClosed = 499
	switch c {
	case codes.OK:
		return http.StatusOK
	case codes.Canceled:
		return clientClosed
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	case codes.NotFound:
		return http.StatusNotFound
	case codes.AlreadyExists, codes.Aborted:
		return http.StatusConflict
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.Unknown, codes.Internal, codes.DataLoss:
	}
	return http.StatusInternalServerError
}

// statusNames are those of gRPC's specification, by code.
var statusNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// StatusName returns the name of a status, as benchmarks write it.
func StatusName(c codes.Code) string {
	if int(c) < len(statusNames) {
		return statusNames[c]
	}
	return strconv.Itoa(int(c))
}

// IsStatus reports whether a status has this name.
func IsStatus(name string) bool { return slices.Contains(statusNames[:], name) }

// said is what the library tells of a call.
type said struct {
	note    *Note
	trailer atomic.Bool // the server has given a status
}

// noting notes bytes and times of calls. It is the key of a call's said, too.
type noting struct{}

func (noting) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (noting) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (noting) HandleConn(context.Context, stats.ConnStats) {}

func (noting) HandleRPC(ctx context.Context, s stats.RPCStats) {
	said, ok := ctx.Value(noting{}).(*said)
	if !ok {
		return
	}
	switch e := s.(type) {
	case *stats.OutHeader:
		said.note.Leave()
	case *stats.OutPayload:
		said.note.Out.Add(int64(e.WireLength))
	case *stats.InHeader:
		said.note.In.Add(int64(e.WireLength))
	case *stats.InPayload:
		said.note.In.Add(int64(e.WireLength))
	case *stats.InTrailer:
		said.trailer.Store(true)
		said.note.In.Add(int64(e.WireLength))
	}
}
