package strategies

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	exprfile "github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/loads/loads/internal/source"
)

// A Call is one function of a metric in an expression.
type Call struct {
	Func   string  // p, mean, min, max, count, rate, sum or value
	Q      float64 // the part of p, from 0 to 1
	Metric string
	Tags   []string // name:value, all of which the metric must bear
	Text   string   // as people read it
}

// A Reading is what a Call gave.
type Reading struct {
	Call  string  `json:"call"`
	Value float64 `json:"value"`
}

// An Outcome is what an expression gave at one time.
type Outcome struct {
	Holds bool
	// Value and Limit are the two sides of an expression that is one
	// comparison, the side with metrics first; nil of others.
	Value, Limit *float64
	Readings     []Reading
	// Err says why nothing can be said; Holds is false then.
	Err error
}

// An Expression is a criterion's text, compiled. It never changes and may be
// used by many goroutines at once.
type Expression struct {
	text         string
	calls        []Call
	whole        *vm.Program
	value, limit *vm.Program // sides of one comparison, or nil
	bound        string      // operator and right side of it
}

// CompileExpression reads and type-checks an expression. Its faults come all
// at once, as Faults without positions.
func CompileExpression(text string) (*Expression, error) {
	e, wrongs := compile(text)
	var faults Faults
	for _, w := range wrongs {
		faults = append(faults, Fault{Field: "expr", Value: w.value, What: w.what, Want: w.want})
	}
	return e, faults.Err()
}

// Calls returns the functions of metrics in the expression, each once.
func (e *Expression) Calls() []Call { return e.calls }

// Bound is the limit of an expression that is one comparison, with its
// operator, as in "< 250"; empty for others.
func (e *Expression) Bound() string { return e.bound }

// Eval evaluates the expression over what read answers for its calls. An
// error of any call, a division by zero, or a number that is not finite make
// an Outcome with Err: what could not be measured never holds.
func (e *Expression) Eval(read func(Call) (float64, error)) Outcome {
	var out Outcome
	values := map[string]float64{}
	for _, c := range e.calls {
		v, err := read(c)
		if err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
			err = fmt.Errorf("%s is not a number", c.Text)
		}
		if err != nil {
			out.Err = errors.Join(out.Err, err)
			continue
		}
		values[c.Text] = v
		out.Readings = append(out.Readings, Reading{c.Text, v})
	}
	if out.Err != nil {
		return out
	}
	env := environment(func(text string) float64 { return values[text] })
	out.Value, out.Limit = side(e.value, env), side(e.limit, env)
	result, err := vm.Run(e.whole, env)
	if err != nil {
		out.Err = plainError(err)
		return out
	}
	holds, _ := result.(bool)
	for _, v := range []*float64{out.Value, out.Limit} {
		if v != nil && (math.IsNaN(*v) || math.IsInf(*v, 0)) {
			out.Err, holds = errors.New("a side of the comparison is not a number"), false
		}
	}
	out.Holds = holds
	return out
}

// side evaluates one side of a comparison; nil when there is none.
func side(p *vm.Program, env map[string]any) *float64 {
	if p == nil {
		return nil
	}
	v, err := vm.Run(p, env)
	f, ok := v.(float64)
	if err != nil || !ok {
		return nil
	}
	return &f
}

// plainError takes the picture of the source out of an error of the library.
func plainError(err error) error {
	var e *exprfile.Error
	if errors.As(err, &e) && e.Prev != nil {
		return e.Prev
	}
	if errors.As(err, &e) {
		return errors.New(e.Message)
	}
	return err
}

// quantiles are the functions that stand for p with a certain part.
func quantiles() map[string]float64 {
	return map[string]float64{"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
}

// functionNames lists the functions that expressions may call.
func functionNames() []string {
	return []string{"p50", "p90", "p95", "p99", "p", "mean", "min", "max", "count", "rate", "sum", "value"}
}

// divideName stands for the operator / in a compiled expression.
const divideName = "quotient"

// environment is what expressions can see: functions that look up, by its
// text, what a call gave.
func environment(lookUp func(text string) float64) map[string]any {
	env := map[string]any{
		divideName: func(a, b float64) (float64, error) {
			if b == 0 {
				return 0, errors.New("division by zero")
			}
			return a / b, nil
		},
		"p": func(q float64, metric string, tags ...string) float64 {
			return lookUp(callText("p", &q, metric, tags))
		},
	}
	for _, name := range functionNames() {
		if name != "p" {
			env[name] = func(metric string, tags ...string) float64 {
				return lookUp(callText(name, nil, metric, tags))
			}
		}
	}
	return env
}

// callText writes a call as people read it; it is the call's key, too.
func callText(name string, q *float64, metric string, tags []string) string {
	var args []string
	if q != nil {
		args = append(args, fmt.Sprint(*q))
	}
	for _, text := range append([]string{metric}, tags...) {
		args = append(args, fmt.Sprintf("%q", text))
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

// A wrong is one fault of an expression.
type wrong struct{ value, what, want string }

const wantExpression = `write for example p95("req.latency") < 250`

// compile reads an expression. What it may hold is little: numbers, the
// functions of metrics, arithmetic, comparisons, and, or, not. So its cost is
// bounded by its length.
func compile(text string) (*Expression, []wrong) {
	switch n := utf8.RuneCountInString(text); {
	case strings.TrimSpace(text) == "":
		return nil, []wrong{{"", "is missing", wantExpression}}
	case n > maxExpression:
		return nil, []wrong{{source.Show(text), fmt.Sprintf("has %d characters", n), fmt.Sprintf("%d are the most", maxExpression)}}
	}
	config := conf.CreateNew()
	for _, option := range options() {
		option(config)
	}
	tree, err := parser.ParseWithConfig(text, config)
	if err != nil {
		return nil, []wrong{libraryWrong(text, err)}
	}
	r := &expressionReader{text: text}
	r.read(tree.Node)
	if len(r.wrongs) == 0 && len(r.calls) == 0 {
		r.wrongs = append(r.wrongs, wrong{source.Show(text), "asks for no metric", wantExpression})
	}
	if len(r.wrongs) > 0 {
		return nil, r.wrongs
	}
	e := &Expression{text: text, calls: r.calls}
	if e.whole, err = expr.Compile(text, append(options(), expr.AsBool())...); err != nil {
		return nil, []wrong{libraryWrong(text, err)}
	}
	e.split(tree.Node)
	return e, nil
}

func options() []expr.Option {
	return []expr.Option{
		expr.Env(environment(func(string) float64 { return 0 })),
		expr.DisableAllBuiltins(), expr.DisableIfOperator(), expr.MaxNodes(maxNodes), expr.Patch(divider{}),
	}
}

// A divider makes the operator / a call, so that a division by zero is an
// error and not an infinity that passes.
type divider struct{}

// Visit implements ast.Visitor.
func (divider) Visit(node *ast.Node) {
	if b, ok := (*node).(*ast.BinaryNode); ok && b.Operator == "/" {
		ast.Patch(node, &ast.CallNode{
			Callee: &ast.IdentifierNode{Value: divideName}, Arguments: []ast.Node{b.Left, b.Right},
		})
	}
}

// libraryWrong tells an error of the expression library.
func libraryWrong(text string, err error) wrong {
	var e *exprfile.Error
	if !errors.As(err, &e) {
		return wrong{source.Show(text), "can't be read: " + err.Error(), wantExpression}
	}
	return wrong{source.Show(text), fmt.Sprintf("can't be read at character %d: %s", e.Column+1, e.Message), wantExpression}
}

// split compiles the sides of an expression that is one comparison, the one
// with metrics as the value.
func (e *Expression) split(root ast.Node) {
	b, ok := root.(*ast.BinaryNode)
	if !ok || !slices.Contains(comparisons(), b.Operator) {
		return
	}
	value, limit, operator := b.Left, b.Right, b.Operator
	if !hasCall(value) {
		value, limit, operator = limit, value, turned(operator)
	}
	sides := append(options(), expr.AsFloat64())
	left, errLeft := expr.Compile(value.String(), sides...)
	right, errRight := expr.Compile(limit.String(), sides...)
	if errLeft == nil && errRight == nil {
		e.value, e.limit, e.bound = left, right, operator+" "+limit.String()
	}
}

func comparisons() []string { return []string{"<", "<=", ">", ">=", "==", "!="} }

// turned is the operator after its sides have changed places.
func turned(operator string) string {
	if other, ok := map[string]string{"<": ">", "<=": ">=", ">": "<", ">=": "<="}[operator]; ok {
		return other
	}
	return operator
}

func hasCall(n ast.Node) bool {
	return ast.Find(n, func(n ast.Node) bool { _, ok := n.(*ast.CallNode); return ok }) != nil
}
