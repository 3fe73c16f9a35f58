package strategies

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"github.com/loads/loads/internal/source"
)

// An expressionReader walks the tree of an expression, collects its calls, and
// declines all that criteria have no use for.
type expressionReader struct {
	text   string
	calls  []Call
	wrongs []wrong
	visits int
}

// maxVisits is how many nodes are looked at. It is more than maxNodes, since
// chains of comparisons share their middles, and a bound for what chains
// within chains make of that.
const maxVisits = 2 * maxNodes

// wrongAt notes a fault at a node.
func (r *expressionReader) wrongAt(n ast.Node, what, want string) {
	what = fmt.Sprintf("%s, at character %d", what, n.Location().From+1)
	r.wrongs = append(r.wrongs, wrong{source.Show(r.text), what, want})
}

func (r *expressionReader) read(n ast.Node) {
	if r.visits++; r.visits > maxVisits {
		if r.visits == maxVisits+1 {
			r.wrongs = append(r.wrongs, wrong{source.Show(r.text), "is too complicated", "split it into several criteria"})
		}
		return
	}
	switch n := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
	case *ast.UnaryNode:
		r.read(n.Node)
	case *ast.BinaryNode:
		if !slices.Contains(operators(), n.Operator) {
			r.wrongAt(n, "has the operator "+n.Operator, "the operators are "+source.JoinWords(operators()))
		}
		r.read(n.Left)
		r.read(n.Right)
	case *ast.CallNode:
		r.call(n)
	case *ast.IdentifierNode:
		r.wrongAt(n, "has the name "+source.Show(n.Value), wantFunction(n.Value))
	case *ast.BuiltinNode:
		r.wrongAt(n, "has the function "+source.Show(n.Name), wantFunction(n.Name))
	case *ast.StringNode:
		r.wrongAt(n, "has text where a number is due", wantExpression)
	default:
		r.wrongAt(n, "has what criteria have no use for", wantExpression)
	}
}

func operators() []string {
	return append(comparisons(), "+", "-", "*", "/", "and", "or", "&&", "||")
}

func wantFunction(name string) string {
	if want := source.DidYouMean(name, functionNames()); want != "" {
		return want
	}
	return "the functions are " + source.JoinWords(functionNames())
}

// call reads a function of a metric: p has its part first, then all have the
// metric's name and perhaps tags, each as text.
func (r *expressionReader) call(n *ast.CallNode) {
	callee, ok := n.Callee.(*ast.IdentifierNode)
	if !ok || !slices.Contains(functionNames(), callee.Value) {
		name := n.Callee.String()
		r.wrongAt(n, "has the function "+source.Show(name), wantFunction(name))
		return
	}
	call, args := Call{Func: callee.Value}, n.Arguments
	var part *float64
	if call.Func == "p" {
		if part = r.part(n); part == nil {
			return
		}
		call.Q, args = *part, args[1:]
	} else if q, ok := quantiles()[call.Func]; ok {
		call.Q = q
	}
	var texts []string
	for _, arg := range args {
		text, ok := arg.(*ast.StringNode)
		if !ok || text.Value == "" {
			r.wrongAt(arg, callee.Value+" takes text", `give a metric's name in quotes, and perhaps tags, as in count("req.count", "status:200")`)
			return
		}
		texts = append(texts, text.Value)
	}
	if len(texts) == 0 {
		r.wrongAt(n, callee.Value+" has no metric", `give its name in quotes, as in count("req.count")`)
		return
	}
	for _, tag := range texts[1:] {
		if name, _, found := strings.Cut(tag, ":"); !found || name == "" {
			r.wrongAt(n, "has the tag "+source.Show(tag), "write tags as name:value")
			return
		}
	}
	call.Metric, call.Tags = texts[0], texts[1:]
	call.Text = callText(callee.Value, part, call.Metric, call.Tags)
	if _, isQuantile := quantiles()[call.Func]; isQuantile {
		call.Func = "p"
	}
	if !slices.ContainsFunc(r.calls, func(c Call) bool { return c.Text == call.Text }) {
		r.calls = append(r.calls, call)
	}
}

// part reads the first argument of p.
func (r *expressionReader) part(n *ast.CallNode) *float64 {
	q := -1.0
	if len(n.Arguments) > 0 {
		switch arg := n.Arguments[0].(type) {
		case *ast.FloatNode:
			q = arg.Value
		case *ast.IntegerNode:
			q = float64(arg.Value)
		}
	}
	if q < 0 || q > 1 {
		r.wrongAt(n, "p has no part from 0 to 1", `write for example p(0.999, "req.latency")`)
		return nil
	}
	return &q
}
