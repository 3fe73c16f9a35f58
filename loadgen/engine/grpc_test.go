package engine_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpctest "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/loads/loads/loadgen/engine"
	"github.com/loads/loads/loadgen/stats"
)

// service is a gRPC service.
type service struct {
	grpctest.UnimplementedTestServiceServer
}

// UnaryCall greets by the metadata, or has the status that is asked for.
func (service) UnaryCall(ctx context.Context, r *grpctest.SimpleRequest) (*grpctest.SimpleResponse, error) {
	if s := r.GetResponseStatus(); s != nil {
		return nil, status.Error(codes.Code(s.GetCode()), s.GetMessage())
	}
	if r.GetFillUsername() {
		<-ctx.Done() // never answers
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	in, _ := metadata.FromIncomingContext(ctx)
	return &grpctest.SimpleResponse{Username: strings.Join(in.Get("x-me"), ""), Payload: r.GetPayload()}, nil
}

// StreamingOutputCall answers by as many messages as are asked for.
func (service) StreamingOutputCall(r *grpctest.StreamingOutputCallRequest, s grpctest.TestService_StreamingOutputCallServer) error {
	for _, p := range r.GetResponseParameters() {
		if err := s.Send(&grpctest.StreamingOutputCallResponse{Payload: &grpctest.Payload{Body: make([]byte, p.GetSize())}}); err != nil {
			return err
		}
	}
	return nil
}

// StreamingInputCall sums the sizes of messages.
func (service) StreamingInputCall(s grpctest.TestService_StreamingInputCallServer) error {
	var sum int32
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.SendAndClose(&grpctest.StreamingInputCallResponse{AggregatedPayloadSize: sum})
		} else if err != nil {
			return err
		}
		sum += int32(len(r.GetPayload().GetBody()))
	}
}

// grpcServer serves the service, and returns its address.
func grpcServer(t *testing.T, options ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	grpctest.RegisterTestServiceServer(server, service{})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// descriptors are those of the service, in the form in which protoc writes them.
func descriptors(t testing.TB) []byte {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i))
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	add(grpctest.File_grpc_testing_test_proto)
	data, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func grpcConfig(t *testing.T, host, extra, call string) engine.Config {
	t.Helper()
	cfg := config(t, host, strings.NewReplacer("EXTRA", extra, "CALL", call).Replace(`
name: b
http: {host: HOST, sharedConnections: {core: 0, max: 2} EXTRA}
phases:
- main:
    atOnce:
      users: 10
      scenario: [{s: [CALL]}]
`))
	cfg.Read = files(map[string][]byte{"shop.pb": descriptors(t)})
	return cfg
}

func TestGRPC(t *testing.T) {
	clear := "http://" + grpcServer(t)
	pair := selfSigned(t)
	secured := "https://" + grpcServer(t, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}})))
	const unary = "method: grpc.testing.TestService/UnaryCall, descriptors: shop.pb"
	for _, c := range []struct {
		name, host, call string
		want             stats.Counts
		class            int
		failure          string
	}{
		{
			"values go on", clear, "{grpc: {" + unary + ", message: '{\"payload\": {\"body\": \"YWJj\"}}', metadata: {x-me: me}, handler: {message: {json: {query: .username, toVar: me}}}}}, " +
				"{grpc: {" + unary + ", metadata: {x-me: '${me}2'}, handler: {message: {json: {query: .username, toVar: me2}}}}}, " +
				"{grpc: {" + unary + ", message: {pattern: '{\"responseStatus\": {\"code\": 5, \"message\": \"${me2}\"}}'}, expectStatus: NOT_FOUND}}",
			stats.Counts{Requests: 30, Responses: 30},
			2, "",
		},
		{"over TLS", secured, "{grpc: {" + unary + "}}", stats.Counts{Requests: 10, Responses: 10}, 2, ""},
		{"another status", clear, "{grpc: {" + unary + ", message: '{\"responseStatus\": {\"code\": 14}}'}}", stats.Counts{Requests: 10, Responses: 10, Invalid: 10}, 5, ""},
		{"no such method there", clear, "{grpc: {method: grpc.testing.TestService/EmptyCall, descriptors: shop.pb}}", stats.Counts{Requests: 10, Responses: 10, Invalid: 10}, 5, ""},
		{
			"many answers", clear, "{grpc: {method: grpc.testing.TestService/StreamingOutputCall, descriptors: shop.pb, message: '{\"responseParameters\": [{\"size\": 3}, {\"size\": 4}]}', " +
				"handler: {message: {array: {toVar: all, maxSize: 5}}}}}, {getSize: {fromVar: all, toVar: n}}, {breakSequence: {intCondition: {fromVar: n, notEqualTo: 2}}}, {grpc: {" + unary + "}}",
			stats.Counts{Requests: 20, Responses: 20},
			2, "",
		},
		{
			"many messages", clear, "{grpc: {method: grpc.testing.TestService/StreamingInputCall, descriptors: shop.pb, messages: ['{\"payload\": {\"body\": \"YWJj\"}}', '{\"payload\": {\"body\": \"YWJj\"}}'], " +
				"handler: {message: {json: {query: .aggregatedPayloadSize, toVar: sum}}}}}, {breakSequence: {stringCondition: {fromVar: sum, notEqualTo: '6'}}}, {grpc: {" + unary + "}}",
			stats.Counts{Requests: 20, Responses: 20},
			2, "",
		},
		{"no answer", clear, "{grpc: {" + unary + ", message: '{\"fillUsername\": true}', timeout: 200ms}}", stats.Counts{Requests: 10, Timeouts: 10}, 0, "in time"},
		{"nobody listens", "http://127.0.0.1:1", "{grpc: {" + unary + "}}", stats.Counts{Requests: 10, Connections: 10}, 0, "refused"},
		{"not that message", clear, "{set: x <- other}, {grpc: {" + unary + ", message: '{\"${x}\": 1}'}}", stats.Counts{Requests: 10, Internal: 10}, 0, "other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := mustRun(t, t.Context(), grpcConfig(t, c.host, "", c.call))
			cell := mainCell(r, "s")
			c.want.BytesIn, c.want.BytesOut = cell.BytesIn, cell.BytesOut
			if cell.Counts != c.want {
				t.Errorf("got %+v, want %+v; %+v, %+v", cell.Counts, c.want, r.Failures, r.Phases)
			}
			if c.class == 5 && cell.Class(5) != 10 || c.class == 2 && cell.Class(2) < 10 {
				t.Errorf("got %+v", cell.Statuses)
			}
			if c.failure != "" && (len(r.Failures) == 0 || !strings.Contains(r.Failures[0].What, c.failure)) {
				t.Errorf("got %+v, want %q", r.Failures, c.failure)
			}
			if c.failure == "" && (cell.BytesIn < 10 || cell.BytesOut < 10 || cell.Service.Count() != float64(c.want.Responses)) {
				t.Errorf("got %+v, %v service times", cell.Counts, cell.Service.Count())
			}
		})
	}
}

func TestGRPCThatCannotBeRun(t *testing.T) {
	for _, c := range []struct{ extra, call, want string }{
		{"", "{grpc: {method: grpc.testing.Other/UnaryCall, descriptors: shop.pb}}", `have no service "grpc.testing.Other"`},
		{"", "{grpc: {method: grpc.testing.TestService/Other, descriptors: shop.pb}}", `has no method "Other"`},
		{"", "{grpc: {method: grpc.testing.TestService/UnaryCall, descriptors: gone.pb}}", "gone.pb"},
		{"", "{grpc: {method: grpc.testing.TestService/UnaryCall, descriptors: shop.pb, expectStatus: GOOD}}", "GOOD"},
		{"", "{grpc: {method: grpc.testing.TestService/UnaryCall, descriptors: shop.pb, message: '{\"other\": 1}'}}", "a message that the method doesn't take"},
		{"", "{grpc: {method: grpc.testing.TestService/UnaryCall, descriptors: shop.pb, messages: ['{}', '{}']}}", "has 2 messages for grpc.testing.TestService/UnaryCall, which takes one"},
		{", allowHttp2: false", "{grpc: {method: grpc.testing.TestService/UnaryCall, descriptors: shop.pb}}", "doesn't allow HTTP/2"},
	} {
		if faults := engine.Check(grpcConfig(t, "http://a.test", c.extra, c.call)); len(faults) != 1 || !strings.Contains(faults.Error(), c.want) {
			t.Errorf("got %v, want one fault with %q", faults, c.want)
		}
	}
}
