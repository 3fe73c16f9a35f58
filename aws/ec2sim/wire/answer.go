package wire

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"time"
)

// A Set is a list in an answer of EC2, which is there also when it is empty.
type Set[T any] struct {
	Items []T `xml:"item"`
}

// SetOf makes a Set.
func SetOf[T any](items ...T) Set[T] { return Set[T]{items} }

// Time is a time as EC2 writes it.
type Time time.Time

// MarshalText writes the time in UTC with milliseconds.
func (t Time) MarshalText() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format("2006-01-02T15:04:05.000Z")), nil
}

// namespaces are those of the documents of the two XML protocols.
var namespaces = map[Protocol]string{
	EC2:   "http://ec2.amazonaws.com/doc/2016-11-15/",
	Query: "https://sts.amazonaws.com/doc/2011-06-15/",
}

// WriteAnswer answers an action with its result: a struct with tags of
// encoding/xml, or of encoding/json.
func WriteAnswer(w http.ResponseWriter, p Protocol, requestID, action string, result any) error {
	if p == JSON {
		writeJSON(w, requestID, http.StatusOK, result)
		return nil
	}
	name := action + "Response"
	if p == Query {
		name = action + "Result"
	}
	var inner bytes.Buffer
	if err := xml.NewEncoder(&inner).EncodeElement(result, xml.StartElement{Name: xml.Name{Local: name}}); err != nil {
		return fmt.Errorf("word the answer to %s: %w", action, err)
	}
	var doc bytes.Buffer
	fmt.Fprintf(&doc, `<%sResponse xmlns="%s">`, action, namespaces[p])
	if p == Query {
		doc.Write(inner.Bytes())
		fmt.Fprintf(&doc, "<ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata>", requestID)
	} else {
		fmt.Fprintf(&doc, "<requestId>%s</requestId>", requestID)
		doc.Write(bytes.TrimSuffix(bytes.TrimPrefix(inner.Bytes(), []byte("<"+name+">")), []byte("</"+name+">")))
	}
	fmt.Fprintf(&doc, "</%sResponse>", action)
	WriteXML(w, requestID, http.StatusOK, doc.Bytes())
	return nil
}
