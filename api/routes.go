package api

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/loads/loads/strategies"
)

// An adapter lets huma serve from a ServeMux, by the habits of loads v2.
type adapter struct{ *http.ServeMux }

// Handle adds an operation to the mux. A path that ends in a slash is meant
// exactly; without the mark it would stand for all that lies under it. The ids
// of machines are the pools' own and may have slashes, which old clients send
// as they are.
func (a adapter) Handle(op *huma.Operation, handler func(huma.Context)) {
	pattern := op.Method + " " + strings.Replace(op.Path, "{id}", "{id...}", 1)
	if strings.HasSuffix(pattern, "/") {
		pattern += "{$}"
	}
	a.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		handler(&callContext{humaContext: humago.NewContext(op, r, w), query: r.URL.Query()})
	})
}

// humaContext is huma.Context by a name that its method Context leaves free for
// a field.
type humaContext = huma.Context

// A callContext is one call as huma sees it.
type callContext struct {
	humaContext
	query url.Values
}

// Unwrap returns the context that this one is made of.
func (c *callContext) Unwrap() huma.Context { return c.humaContext }

// SetStatus answers bad parameters with 400 where huma would say 422.
func (c *callContext) SetStatus(code int) { c.humaContext.SetStatus(plainStatus(code)) }

// Query returns a value of the query. huma's own look-up loses parameters that
// follow one without a value, and knows fewer ways to say yes: in loads v2 the
// mere presence of a parameter means yes.
func (c *callContext) Query(name string) string {
	values, ok := c.query[name]
	if !ok {
		return ""
	}
	if !c.isFlag(name) {
		return values[0]
	}
	switch strings.ToLower(values[0]) {
	case "", "1", "true", "yes", "on":
		return "true"
	case "0", "false", "no", "off":
		return "false"
	}
	return values[0]
}

func (c *callContext) isFlag(name string) bool {
	for _, p := range c.Operation().Parameters {
		if p.In == "query" && p.Name == name {
			return p.Schema.Type == huma.TypeBoolean
		}
	}
	return false
}

// newAPI makes an empty API: no pages, which would load scripts from elsewhere,
// and no links to schemas in the answers.
func newAPI(mux *http.ServeMux, version string) huma.API {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	registry.RegisterTypeAlias(reflect.TypeFor[strategies.Environment](), reflect.TypeFor[map[string]string]())
	return huma.NewAPI(huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:   "Loads",
				Version: version,
				Description: "Runs load tests on machines that it rents for the purpose. " +
					"Every JSON answer has success and status; failures have a message.",
			},
			Components: &huma.Components{Schemas: registry},
		},
		Formats:       map[string]huma.Format{contentJSON: huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: contentJSON,
		Transformers:  []huma.Transformer{asFailure},
	}, adapter{mux})
}

const contentJSON = "application/json"

// schemaName names a type in the OpenAPI document. What a plan file holds and
// what the API answers have some names in common.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if strings.HasSuffix(t.PkgPath(), "/strategies") && t.Kind() == reflect.Struct {
		return "File" + name
	}
	return name
}

// An answer is what a handler returns: a struct with the Envelope in it.
type answer interface{ status() int }

func (e Envelope) status() int { return e.Status }

// output is an answer on its way through huma.
type output[A answer] struct {
	Status int
	Body   A
}

// register adds an operation whose handler takes the parameters I and answers
// A in JSON.
func register[I any, A answer](s *Server, op huma.Operation, handle func(context.Context, *I) (A, error)) {
	describe(&op, map[string]string{contentJSON: ""})
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*output[A], error) {
		a, err := handle(ctx, in)
		if err != nil {
			return nil, s.failure(ctx, op.OperationID, err)
		}
		return &output[A]{Status: a.status(), Body: a}, nil
	})
}

// registerStream adds an operation that writes its answer itself. handle
// returns what writes it, or an error. contents are the content types of the
// answer, with the names of their parts' schemas.
func registerStream[I any](s *Server, op huma.Operation, contents map[string]string, handle func(context.Context, *I) (func(*stream) error, error)) {
	describe(&op, contents)
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		write, err := handle(ctx, in)
		if err != nil {
			return nil, s.failure(ctx, op.OperationID, err)
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) { s.serveStream(ctx, write) }}, nil
	})
}

// describe fills what all operations have in common. huma adds the schema of a
// JSON answer that has none here.
func describe(op *huma.Operation, contents map[string]string) {
	op.SkipValidateBody = true // bodies are read by the handlers
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	good := &huma.Response{Description: "Done.", Content: map[string]*huma.MediaType{}}
	for content, schema := range contents {
		good.Content[content] = &huma.MediaType{}
		if schema != "" {
			good.Content[content].Schema = schemaRef(schema)
		}
	}
	op.Responses["200"] = good
	op.Responses["default"] = &huma.Response{
		Description: "It went wrong.",
		Content:     map[string]*huma.MediaType{contentJSON: {Schema: schemaRef("Failure")}},
	}
}

func schemaRef(name string) *huma.Schema {
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}

// planBody describes a body that package strategies reads. The content type
// is not looked at: YAML holds JSON.
func planBody(description, schema string) *huma.RequestBody {
	media := &huma.MediaType{Schema: schemaRef(schema)}
	return &huma.RequestBody{
		Description: description,
		Required:    true,
		Content:     map[string]*huma.MediaType{contentJSON: media, "application/yaml": media},
	}
}

// registerBody adds an operation whose body the handler reads itself. huma
// would describe the body as bytes of any kind and demand it; the operation's
// own description stands.
func registerBody[I any, A answer](s *Server, op huma.Operation, handle func(context.Context, *I) (A, error)) {
	body := op.RequestBody
	required := body.Required
	register(s, op, handle)
	body.Required = required
	delete(body.Content, "application/octet-stream")
}
