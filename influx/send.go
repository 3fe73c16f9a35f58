package influx

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	influxhttp "github.com/influxdata/influxdb-client-go/v2/api/http"
	"github.com/influxdata/influxdb-client-go/v2/api/write"

	"github.com/loads/loads/broker"
)

// pointsAtOnce is how many points go in one request, as InfluxDB recommends.
const pointsAtOnce = 5000

// maxDetail bounds what is kept of a server's words.
const maxDetail = 300

// A failure is why points could not be written, and can be later.
type failure struct {
	kind       broker.Trouble
	detail     string
	retryAfter time.Duration // that the server asked for
}

// Error implements error.
func (f *failure) Error() string { return string(f.kind) + ": " + f.detail }

// sentence tells of the failure in a run's history.
func (f *failure) sentence() string {
	if f.kind == broker.TroubleRefused {
		return "InfluxDB refuses the run's points, which are kept: " + sentenceEnd(f.detail)
	}
	return "InfluxDB can't take the run's points now; they are kept and sent later: " + sentenceEnd(f.detail)
}

func sentenceEnd(text string) string { return strings.TrimRight(text, ". \n") + "." }

// A rejection is points that the server will never take.
type rejection struct {
	points uint64
	detail string // of the first of them
}

func (r *rejection) add(o rejection) {
	r.points += o.points
	if r.detail == "" {
		r.detail = o.detail
	}
}

// send writes the points. The error is a *failure, or that of ctx.
func (s *Sender) send(ctx context.Context, points []*write.Point) (rejection, error) {
	var all rejection
	for len(points) > 0 {
		n := min(len(points), pointsAtOnce)
		refused, err := s.post(ctx, points[:n])
		if err != nil {
			return all, err
		}
		all.add(refused)
		points = points[n:]
	}
	return all, nil
}

// post writes points in one request, or in more when the server can't read
// one that has all of them: so the points at fault are found.
func (s *Sender) post(ctx context.Context, points []*write.Point) (rejection, error) {
	err := s.write.WritePoint(ctx, points...)
	if err == nil {
		return rejection{}, nil
	}
	if ctx.Err() != nil {
		return rejection{}, ctx.Err()
	}
	f, status := classify(err)
	dropped, partial := droppedPoints(status, f.detail)
	canSplit := unreadable(status, f.detail)
	f.detail = short(f.detail)
	if partial {
		return rejection{points: dropped, detail: f.detail}, nil
	}
	if !canSplit {
		return rejection{}, f
	}
	if len(points) == 1 {
		return rejection{points: 1, detail: f.detail}, nil
	}
	first, err := s.post(ctx, points[:len(points)/2])
	if err != nil {
		return rejection{}, err
	}
	second, err := s.post(ctx, points[len(points)/2:])
	first.add(second)
	return first, err
}

// classify says what an error of the client means, with the HTTP status, 0
// when none came.
func classify(err error) (f *failure, status int) {
	f = &failure{kind: broker.TroubleUnreachable, detail: err.Error()}
	var answer *influxhttp.Error
	if errors.As(err, &answer) {
		status = answer.StatusCode
		if answer.Message != "" {
			f.detail = answer.Message
		}
		f.retryAfter = min(time.Duration(answer.RetryAfter)*time.Second, 5*time.Minute)
	}
	if status != 0 {
		f.detail = http.StatusText(status) + " (" + strconv.Itoa(status) + "): " + f.detail
	}
	if status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout {
		f.kind = broker.TroubleRefused
	}
	f.detail = strings.Join(strings.Fields(f.detail), " ")
	return f, status
}

// short bounds what is kept of a server's words.
func short(text string) string {
	if len(text) <= maxDetail {
		return text
	}
	return strings.ToValidUTF8(text[:maxDetail], "") + " …"
}

// dropped is what both versions say of a request of which they took a part.
var dropped = regexp.MustCompile(`partial write:.*dropped=(\d+)`)

func droppedPoints(status int, detail string) (uint64, bool) {
	found := dropped.FindStringSubmatch(detail)
	if found == nil || status != http.StatusBadRequest && status != http.StatusUnprocessableEntity {
		return 0, false
	}
	n, err := strconv.ParseUint(found[1], 10, 64)
	return n, err == nil
}

// unreadable reports whether the request was at fault, and not the token or
// the bucket.
func unreadable(status int, detail string) bool {
	return status == http.StatusRequestEntityTooLarge ||
		status == http.StatusBadRequest && strings.Contains(detail, "unable to parse")
}
