package relay

import (
	"errors"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// dnsTTL, in seconds, makes clients ask again soon, as machines come and go.
	dnsTTL = 1
	// dnsPlainSize is the largest UDP answer without EDNS; dnsLargeSize is the
	// largest with it that no network breaks into pieces.
	dnsPlainSize = 512
	dnsLargeSize = 1232
)

// question is a query with exactly one question, as all are in practice.
type question struct {
	dnsmessage.Question
	header  dnsmessage.Header
	raw     []byte
	udpSize int // how large the answer may be over UDP
}

// parseQuestion reads a query; anything else gets no answer.
func parseQuestion(raw []byte) (question, bool) {
	var p dnsmessage.Parser
	header, err := p.Start(raw)
	if err != nil || header.Response || header.OpCode != 0 {
		return question{}, false
	}
	questions, err := p.AllQuestions()
	if err != nil || len(questions) != 1 {
		return question{}, false
	}
	return question{Question: questions[0], header: header, raw: raw, udpSize: ednsSize(&p)}, true
}

// ednsSize returns the size of answers that the query asks for.
func ednsSize(p *dnsmessage.Parser) int {
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return dnsPlainSize
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return dnsPlainSize
		}
		if h.Type == dnsmessage.TypeOPT {
			return min(max(int(h.Class), dnsPlainSize), dnsLargeSize)
		}
		if p.SkipAdditional() != nil {
			return dnsPlainSize
		}
	}
}

// answeredBy reports whether a message is an answer to the question.
func (q question) answeredBy(message []byte) bool {
	var p dnsmessage.Parser
	header, err := p.Start(message)
	return err == nil && header.Response && header.ID == q.header.ID
}

// failure returns the answer SERVFAIL.
func (q question) failure() []byte {
	return q.answerWith(dnsmessage.RCodeServerFailure, nil)
}

// answerWith builds an answer of A records.
func (q question) answerWith(code dnsmessage.RCode, addresses [][4]byte) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: q.header.ID, Response: true, Authoritative: code == dnsmessage.RCodeSuccess,
		RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true, RCode: code,
	})
	b.EnableCompression()
	record := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: dnsTTL}
	errs := []error{b.StartQuestions(), b.Question(q.Question), b.StartAnswers()}
	for _, a := range addresses {
		errs = append(errs, b.AResource(record, dnsmessage.AResource{A: a}))
	}
	message, err := b.Finish()
	if errors.Join(append(errs, err)...) != nil {
		return nil // the question was parsed, so it can be built
	}
	return message
}
