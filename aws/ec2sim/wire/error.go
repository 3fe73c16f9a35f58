package wire

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
)

// A Protocol is how a service words requests and answers.
type Protocol int

// The protocols of the services that are simulated.
const (
	EC2   Protocol = iota // parameters of a form in, XML out
	Query                 // the same, with the answer wrapped once more
	JSON                  // JSON in and out, the action in a header
	S3                    // REST, with XML
)

// An Error is what a service answers instead of a result.
type Error struct {
	Code    string // as AWS names it: InvalidAMIID.NotFound
	Message string // one sentence or more
	Status  int    // of HTTP; 400 if 0
}

// Errorf makes an error that is the client's fault, with status 400.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: http.StatusBadRequest}
}

// Error is the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// With gives the error another status of HTTP.
func (e *Error) With(status int) *Error {
	e.Status = status
	return e
}

// WriteError answers with an error.
func WriteError(w http.ResponseWriter, p Protocol, requestID string, e *Error) {
	if e.Status == 0 {
		e.Status = http.StatusBadRequest
	}
	if p == JSON {
		w.Header().Set("X-Amzn-Errortype", e.Code)
		writeJSON(w, requestID, e.Status, map[string]string{"__type": e.Code, "message": e.Message})
		return
	}
	type fault struct {
		Type    string `xml:",omitempty"`
		Code    string
		Message string
	}
	var body any
	switch p {
	case EC2:
		body = struct {
			XMLName   xml.Name `xml:"Response"`
			Error     fault    `xml:"Errors>Error"`
			RequestID string
		}{Error: fault{Code: e.Code, Message: e.Message}, RequestID: requestID}
	case Query:
		who := "Sender"
		if e.Status >= 500 {
			who = "Receiver"
		}
		body = struct {
			XMLName   xml.Name `xml:"ErrorResponse"`
			Error     fault
			RequestID string `xml:"RequestId"`
		}{Error: fault{Type: who, Code: e.Code, Message: e.Message}, RequestID: requestID}
	default:
		body = struct {
			XMLName   xml.Name `xml:"Error"`
			Code      string
			Message   string
			RequestID string `xml:"RequestId"`
		}{Code: e.Code, Message: e.Message, RequestID: requestID}
	}
	data, err := xml.Marshal(body)
	if err != nil {
		data = []byte("<Error/>") // strings can always be marshalled
	}
	WriteXML(w, requestID, e.Status, data)
}

// WriteXML answers with a document.
func WriteXML(w http.ResponseWriter, requestID string, status int, data []byte) {
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.Header().Set("X-Amzn-Requestid", requestID)
	w.Header().Set("X-Amz-Request-Id", requestID)
	w.WriteHeader(status)
	_, _ = w.Write([]byte(xml.Header))
	_, _ = w.Write(data)
}

func writeJSON(w http.ResponseWriter, requestID string, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"__type":"InternalFailure"}`)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", requestID)
	w.WriteHeader(status)
	_, _ = w.Write(data)
}
