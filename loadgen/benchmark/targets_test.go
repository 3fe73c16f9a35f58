package benchmark_test

import (
	"strings"
	"testing"

	"github.com/loads/loads/loadgen/benchmark"
)

// What can't be done, or goes nowhere, is found before the run, at its place: each
// step is on line 7.
func TestStepsThatCanNotBeDone(t *testing.T) {
	tests := []struct{ name, step, fault string }{
		{"a path on an endpoint", "webSocket: {endpoint: shop, connect: /chat}", ""},
		{"a path on an endpoint, with a variable", `webSocket: {endpoint: shop, connect: "/chat?of=${x}"}`, ""},
		{"an endpoint by its host", "webSocket: {endpoint: shop.test, connect: /chat}", ""},
		{"an address", "webSocket: {connect: 'wss://shop.test/chat'}", ""},
		{"an address in a variable", "webSocket: {connect: {fromVar: x}}", ""},
		{"an address that begins with a variable", `webSocket: {connect: "${x}/chat"}`, ""},
		{"a path without an endpoint", "webSocket: {connect: /chat}", "7:26: scenario.s[1].webSocket.connect: /chat is a path, and there is no endpoint for it; give endpoint, or ws:// or wss:// with host and path"},
		{"a path without an endpoint, with a variable", `webSocket: {connect: "/chat?of=${x}"}`, `7:26: scenario.s[1].webSocket.connect: "/chat?of=${x}" is a path, and there is no endpoint`},
		{"a host without a protocol", "webSocket: {connect: 'shop.test:80/chat'}", `webSocket.connect: "shop.test:80/chat" is not the address of a WebSocket`},
		{"an address beside an endpoint", "webSocket: {endpoint: shop, connect: 'ws://shop.test/chat'}", `webSocket.connect: "ws://shop.test/chat" is not a path of the endpoint`},
		{"an unknown endpoint", "webSocket: {endpoint: shpo, connect: /chat}", "7:27: scenario.s[1].webSocket.endpoint: shpo is not the name of an endpoint; there are shop and other"},
		{"a connection that no step makes", "webSocket: {send: hello}", "7:16: scenario.s[1].webSocket goes on with the connection webSocket, which no step makes; give connect, here or in a step before"},
		{"a connection of a similar name", "webSocket: {connection: lime, send: hello}", "which no step makes; did you mean line?"},
		{"a connection that another step makes", "tcp: {connection: line, send: hello}", ""},

		{"a server", "tcp: {connect: 'tcp://cache.test:6379', send: x}", ""},
		{"a server by the name of its port", "tcp: {connect: 'cache.test:http', send: x}", ""},
		{"a server of version 6", "tcp: {connect: '[::1]:6379', send: x}", ""},
		{"a server without a port", "tcp: {connect: cache.test, send: x}", "7:20: scenario.s[1].tcp.connect: cache.test is not the address of a server; give host:port"},
		{"a server with a wrong port", "tcp: {connect: 'cache.test:70000', send: x}", `tcp.connect: "cache.test:70000" is not the address of a server`},

		{"a method", "grpc: {method: a.B/C, descriptors: x.pb, metadata: {trace-id: '7'}}", ""},
		{"a method of an unknown endpoint", "grpc: {endpoint: shpo, method: a.B/C, descriptors: x.pb}", "7:22: scenario.s[1].grpc.endpoint: shpo is not the name of an endpoint; there are shop and other"},
		{"metadata of a wrong name", "grpc: {method: a.B/C, descriptors: x.pb, metadata: {trace!id: '7'}}", "7:56: scenario.s[1].grpc.metadata has the name trace!id, which metadata can't have"},

		{"a path", "httpRequest: {endpoint: shop, GET: /a}", ""},
		{"a path with an address in its query", "httpRequest: {endpoint: shop, GET: '/login?next=http://else.test/'}", ""},
		{"the same without an endpoint", "httpRequest: {authority: shop.test:8080, GET: '/login?next=http://else.test/'}", ""},
		{"a full address", "httpRequest: {GET: 'http://shop.test:8080/a'}", ""},
		{"a full address without a port", "httpRequest: {GET: 'http://other.test/a'}", ""},
		{"a full address that lacks the port", "httpRequest: {GET: 'http://shop.test/a'}", "7:18: scenario.s[1].httpRequest goes to shop.test:80, which is no endpoint; the endpoints are other.test:80 and shop.test:8080"},
		{"a full address that is none", "httpRequest: {GET: 'http://shop.test:port/a'}", `7:24: scenario.s[1].httpRequest.GET: "http://shop.test:port/a" is no address`},
		{"a path with a blank", "httpRequest: {endpoint: shop, GET: '/a b'}", `7:40: scenario.s[1].httpRequest.GET: "/a b" has blanks or control characters; write them encoded, a blank as %20`},
		{"a header of a wrong name", "httpRequest: {endpoint: shop, GET: /a, headers: {'x y': z}}", `7:54: scenario.s[1].httpRequest.headers.x y is not a name for a header; use letters, digits and hyphens`},
		{"a header of two lines", `httpRequest: {endpoint: shop, GET: /a, headers: {x: "y\n"}}`, "7:57: scenario.s[1].httpRequest.headers.x has more than one line"},

		{"a way to change a counter", "addToSharedCounter: {key: k, operator: subtract}", ""},
		{"an unknown way", "addToSharedCounter: {key: k, operator: DIVIDE}", "7:44: scenario.s[1].addToSharedCounter.operator: DIVIDE is not one of its values; give ADD or SUBTRACT"},

		{"an array", "set: {var: a, objectArray: {size: 3}}", ""},
		{"an array as long as another", "set: {var: a, intArray: {fromVar: x}}", ""},
		{"an array of a negative size", "set: {var: a, objectArray: {size: -1}}", "7:39: scenario.s[1].set.objectArray.size: -1 is not a number of items; give 1 to 1000000, or fromVar"},
		{"an array of no size", "set: {var: a, intArray: {}}", "set.intArray.size is not a number of items"},
		{"nothing to draw from", "randomItem: {list: [], toVar: a}", "7:24: scenario.s[1].randomItem.list has no items to draw from; give one"},
		{"a query in a step", "json: {fromVar: x, query: .a, toVar: a}", ""},
		{"a query in a step, of nothing", "json: {query: .a, toVar: a}", "7:5: scenario.s[1].json.fromVar is missing; give it: a step has no document of its own"},
		{"a variable of the generator", "set: hyperfoil.run.id <- 3", "7:10: scenario.s[1].set: hyperfoil.run.id is set by the generator; use another name"},
		{"data that nobody publishes", "readAgentData: {name: total, toVar: a}", "7:20: scenario.s[1].readAgentData reads total, which no step publishes; give publishAgentData in an earlier phase"},
		{"data of a similar name", "readAgentData: {name: tokne, toVar: a}", "which no step publishes; did you mean token?"},
		{"data that somebody publishes", "readAgentData: token", ""},
		{"a delay that nobody schedules", "awaitDelay: beta", "7:17: scenario.s[1].awaitDelay waits for beta, which no step schedules; did you mean beat?"},
		{"a delay that somebody schedules", "awaitDelay: beat", ""},
		{"an array of handlers", "httpRequest: {endpoint: shop, GET: /, handler: {body: {array: {toVar: a, maxSize: -2}}}}", "array.maxSize is not a number of items"},
		{"a queue for none", "httpRequest: {endpoint: shop, GET: /, handler: {body: {queue: {var: q, sequence: t, maxSize: 1, concurrency: 0}}}}", "queue.concurrency: 0 is not above 0"},
		{"resources of none", "httpRequest: {endpoint: shop, GET: /, handler: {body: {parseHtml: {onEmbeddedResource: {fetchResource: {maxResources: -1}}}}}}", "fetchResource.maxResources: -1 is not above 0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text := `name: x
http: [{host: http://shop.test:8080, name: shop}, {host: http://other.test, name: other}]
usersPerSec: 1
duration: 1s
scenario:
- s: [set: x <- y,
    ` + test.step + `]
- t: [tcp: {connection: line, connect: 'cache.test:1'}, publishAgentData: {name: token, fromVar: x}, scheduleDelay: {key: beat, duration: 1s}]
`
			_, err := benchmark.Parse("b.yaml", []byte(text), nil)
			switch {
			case test.fault == "" && err != nil:
				t.Errorf("got %v, want no fault", err)
			case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault) || strings.Contains(err.Error(), "\n")):
				t.Errorf("got %v, want one fault with %q", err, test.fault)
			}
		})
	}
}

func TestWithoutEndpointsNothingGoesToThem(t *testing.T) {
	for _, step := range []string{"httpRequest: {GET: /}", "grpc: {method: a.B/C, descriptors: x.pb}", "webSocket: {endpoint: shop, connect: /}"} {
		text := "name: x\nusersPerSec: 1\nduration: 1s\nscenario: [{s: [{" + step + "}]}]"
		if _, err := benchmark.Parse("b.yaml", []byte(text), nil); err == nil || !strings.Contains(err.Error(), "has no endpoint to go to; declare one under http") {
			t.Errorf("%s: got %v, want that it has no endpoint", step, err)
		}
	}
}
